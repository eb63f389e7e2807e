//! `revoxy explain`: every step of the verdict on a token, offline and with the store asked.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::key_server::signed;
use crate::support::tokens::{ISSUER, now};
use crate::support::{
    Admin, Config, KeyServer, Postgres, Redis, Revoxy, Scratch, SigningKey, Token, admin, server,
};

/// What is printed about what stands on standard input, and the exit status.
fn explain(config: &Path, input: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut arguments = vec!["explain", "--config", config.to_str().unwrap()];
    arguments.extend(more);
    let mut command = server::revoxy(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{input}").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

fn line<'t>(text: &'t str, step: &str) -> &'t str {
    let found = text.lines().find(|line| line.starts_with(step));
    found.unwrap_or_else(|| panic!("no {step} in {text}"))
}

#[test]
fn explain_tells_every_step_and_ends_with_a_status_for_each_decision() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = scratch.write("revoxy.yaml", Config::trusting(&key, &scratch).yaml());
    let token = Token::access("the-jti").sign(&key);
    for input in [
        token.clone(),
        format!("bearer {token}"),
        format!("Authorization: Bearer {token}"),
        format!("authorization:Bearer {token}\r"),
    ] {
        let (status, text) = explain(&config, &input, &[]);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("revoxy:jti:shop:the-jti"), "{text}");
        assert!(text.ends_with("allow: ok, unless revoked\n"), "{text}");
        assert!(!text.contains(token.rsplit('.').next().unwrap()));
    }
    for (more, expected, verdict) in [
        (["--at", "2099-01-01T00:00:00Z"], 3, "deny: expired\n"),
        (["--policy", "refresh"], 3, "deny: wrong_token_type\n"),
        (["--policy", "absent"], 4, "error: unknown_policy\n"),
    ] {
        let (status, text) = explain(&config, &token, &more);
        assert_eq!(status, Some(expected), "{text}");
        assert!(text.ends_with(verdict), "{text}");
    }
    // As a check, which finds no token in such a header.
    for input in [
        format!("Authorization: {token}"),
        "Authorization: Basic YQ==".to_owned(),
    ] {
        let (status, text) = explain(&config, &input, &[]);
        assert_eq!(status, Some(3), "{text}");
        assert!(text.ends_with("deny: no_token\n"), "{text}");
    }
    let optional = ["--policy", "optional"];
    let (status, text) = explain(&config, "Authorization: Basic YQ==", &optional);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.ends_with("allow: anonymous\n"), "{text}");
    for (line, verdict) in [("Bearer", "malformed"), ("Bearer,x", "ambiguous_token")] {
        let (status, text) = explain(&config, &format!("Authorization: {line}"), &[]);
        assert_eq!(status, Some(3), "{text}");
        assert!(text.ends_with(&format!("deny: {verdict}\n")), "{text}");
    }
    let (status, _) = explain(&config, &format!("{token}\n{token}"), &[]);
    assert_eq!(status, Some(1));
    let (_, text) = explain(&config, &token, &["--policy", "absent"]);
    let expected = "there is no policy \"absent\"; configured: any, default, ";
    assert!(line(&text, "policy").contains(expected), "{text}");
    let (status, _) = explain(&scratch.path().join("absent.yaml"), &token, &[]);
    assert_eq!(status, Some(2));
}

#[test]
fn explain_shows_what_the_token_says_beside_what_is_configured() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch).issuer("required_claims: { tier: [gold] }");
    let config = scratch.write("revoxy.yaml", config.yaml());
    let token = || Token::access("a").with("tier", "gold");
    let (status, text) = explain(&config, &token().sign(&key), &[]);
    assert_eq!(status, Some(0), "{text}");
    for (token, step, expected) in [
        (
            token().with("iss", format!("{ISSUER}/")),
            "issuer",
            "differs by a slash at the end",
        ),
        (
            token().with("aud", "till"),
            "claims",
            "aud \"till\", configured: \"shop\"",
        ),
        (
            token().without("aud"),
            "claims",
            "a required claim is missing: aud: configured: \"shop\"",
        ),
        (
            token().with("tier", "tin"),
            "claims",
            "tier: found \"tin\", configured: \"gold\"",
        ),
        (
            token().with("exp", now() - 100),
            "claims",
            "the token has expired: exp 20",
        ),
    ] {
        let (status, text) = explain(&config, &token.sign(&key), &[]);
        assert_eq!(status, Some(3), "{text}");
        assert!(line(&text, step).contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_that_keys_have_to_be_fetched_and_which_there_are() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let server = KeyServer::start(&[&key]).await;
    let mut config = Config::trusting(&key, &scratch);
    config.keys = server.keys("");
    let config = scratch.write("revoxy.yaml", config.yaml());
    let token = signed(&key);
    let (status, text) = explain(&config, &token, &[]);
    assert_eq!(status, Some(4), "{text}");
    assert!(
        line(&text, "key ").contains("keys with a URL have to be fetched"),
        "{text}"
    );
    let (status, text) = explain(&config, &token, &["--fetch"]);
    assert_eq!(status, Some(0), "{text}");
    let other = SigningKey::generate(Algorithm::ES256);
    let (status, text) = explain(&config, &signed(&other), &["--fetch"]);
    assert_eq!(status, Some(3), "{text}");
    let found = line(&text, "key ");
    assert!(
        found.contains("the signing key is not known: kid \""),
        "{text}"
    );
    assert!(
        found.contains("\", alg \"ES256\"; the issuer has: \""),
        "{text}"
    );
}

#[test]
fn explain_says_where_a_token_has_to_be_on_a_list() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch);
    let missing = "lookups: [{ key: \"label:{jti}\", match: never, missing: revoked }]";
    let redis = config
        .clone()
        .store("redis: { url: \"redis://127.0.0.1:1/0\" }");
    for (config, place) in [
        (
            config.revocation("mode: allow_list"),
            "has to be under \"revoxy:registered:jti:shop:a\"",
        ),
        (redis.revocation(missing), "has to be under \"label:a\""),
    ] {
        let path = scratch.write("revoxy.yaml", config.yaml());
        let (_, text) = explain(&path, &Token::access("a").sign(&key), &[]);
        assert!(text.contains(place), "{text}");
        let verdict = "allow: ok, if it is on the allow-list and not revoked\n";
        assert!(text.ends_with(verdict), "{text}");
    }
}

/// Whether the store can be asked beside the service.
#[derive(Clone, Copy, PartialEq)]
enum Shared {
    Yes,
    No,
}

/// Revokes in this store with the API, and asks `explain` why the tokens are refused.
async fn tells_what_stands(scratch: &Scratch, store: String, shared: Shared) {
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, scratch)
        .store(store)
        .section(&admin::section(scratch));
    let file = scratch.write("explained.yaml", config.yaml());
    let service = Revoxy::start(scratch, &config).await;
    let of_alice = Token::access("a").sign(&key);
    let of_bob = Token::access("b").with("sub", "bob").sign(&key);
    let of_carol = Token::access("c").with("sub", "carol").sign(&key);
    service.revoke(&of_alice).await;
    let statement = json!({
        "issuer": "shop", "sub": "bob", "all": true, "expires_at": now() + 3600, "reason": "lost phone",
    });
    Admin::of(&service).revoke(statement).await;
    if shared == Shared::No {
        let (status, text) = explain(&file, &of_alice, &["--connect"]);
        assert_eq!(status, Some(4), "{text}");
        assert!(
            line(&text, "revocation no").contains("another process"),
            "{text}"
        );
        drop(service);
    }

    let (status, text) = explain(&file, &of_alice, &["--connect"]);
    assert_eq!(status, Some(3), "{text}");
    let found = line(&text, "revocation no");
    assert!(found.starts_with("revocation no  revoked, "), "{text}");
    assert!(found.contains(", since 20"), "{text}");
    assert!(found.contains(", until 20"), "{text}");
    assert!(found.ends_with("under \"revoxy:jti:shop:a\""), "{text}");
    assert!(text.ends_with("deny: revoked\n"), "{text}");

    let (status, text) = explain(&file, &of_bob, &["--connect"]);
    assert_eq!(status, Some(3), "{text}");
    let found = line(&text, "revocation no");
    assert!(found.contains("revoked if issued up to 20"), "{text}");
    assert!(found.contains("reason \"lost phone\""), "{text}");
    assert!(found.ends_with("under \"revoxy:sub:shop:bob\""), "{text}");

    let (status, text) = explain(&file, &of_carol, &["--connect"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("no revocation under \"revoxy:sub:shop:carol\""),
        "{text}"
    );
    assert!(text.ends_with("allow: ok\n"), "{text}");
}

#[tokio::test]
async fn explain_tells_what_stands_in_redis() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    tells_what_stands(&scratch, redis.store(), Shared::Yes).await;
}

#[tokio::test]
async fn explain_tells_what_stands_in_postgres() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    tells_what_stands(&scratch, postgres.store(), Shared::Yes).await;
}

#[tokio::test]
async fn explain_tells_what_stands_in_sqlite() {
    let scratch = Scratch::new();
    let store = format!("sqlite: {{ path: {:?} }}", scratch.unused("db"));
    tells_what_stands(&scratch, store, Shared::No).await;
}

#[tokio::test]
async fn explain_finds_the_keys_of_applications_and_the_allow_list() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let token = Token::access("a").sign(&key);
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let lookups = "lookups: [{ key: \"blacklist:{jti}\", match: exists }]";
    let looking = scratch.write("looking.yaml", config.clone().revocation(lookups).yaml());
    let listing = config.revocation("mode: allow_list").yaml();
    let listing = scratch.write("listing.yaml", listing);

    let (status, text) = explain(&looking, &token, &["--connect"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("lookup     ok  nothing under \"blacklist:a\""),
        "{text}"
    );
    redis.run::<()>(&["SET", "blacklist:a", ""]);
    let (status, text) = explain(&looking, &token, &["--connect"]);
    assert_eq!(status, Some(3), "{text}");
    assert!(
        text.contains("lookup     no  revoked under \"blacklist:a\""),
        "{text}"
    );

    // A key of another type revokes every token, as it does in a view, and the other keys are told all the same.
    redis.run::<()>(&["DEL", "blacklist:a"]);
    let _: u64 = redis.run(&["SADD", "revoxy:sub:shop:alice", "x"]);
    let () = redis.run(&["SET", "revoxy:jti:shop:a", ""]);
    let (status, text) = explain(&looking, &token, &["--connect"]);
    assert_eq!(status, Some(3), "{text}");
    for expected in [
        "revocation no  revoked by what cannot be read (",
        "revocation no  revoked, without an end, under \"revoxy:jti:shop:a\"",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let _: u64 = redis.run(&["DEL", "revoxy:sub:shop:alice", "revoxy:jti:shop:a"]);

    let (status, text) = explain(&listing, &token, &["--connect"]);
    assert_eq!(status, Some(3), "{text}");
    assert!(
        text.contains("allow-list no  has to be, and is not, under"),
        "{text}"
    );
    assert!(text.ends_with("deny: revoked\n"), "{text}");
}

#[test]
fn a_store_that_gives_no_answer_is_an_error_and_no_verdict() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch);
    let absent = scratch.unused("absent.db");
    let sqlite = format!("sqlite: {{ path: {absent:?} }}");
    for (store, why) in [
        ("redis: { url: \"redis://127.0.0.1:1/0\" }", "unavailable"),
        (&sqlite, "there is no file"),
        ("memory: {}", "in the memory of the serving process"),
    ] {
        let config = scratch.write("revoxy.yaml", config.clone().store(store).yaml());
        let (status, text) = explain(&config, &Token::access("a").sign(&key), &["--connect"]);
        assert_eq!(status, Some(4), "{text}");
        assert!(line(&text, "revocation no").contains(why), "{text}");
        assert!(text.ends_with("error: revocation_unavailable\n"), "{text}");
        // A token that is refused anyhow needs no store.
        let (status, text) = explain(&config, "nonsense", &["--connect"]);
        assert_eq!(status, Some(3), "{text}");
    }
    assert!(!absent.exists());
}
