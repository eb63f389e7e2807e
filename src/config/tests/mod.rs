//! Tests of mistakes in the configuration of verification, each reported at its place.

use std::time::Duration;

use super::*;
use crate::authz::TokenPlace;
use crate::jwt::Algorithm;
use crate::keys::{KeySource, Location};

fn parse(issuer: &str, more: &str) -> Result<Config, Problems> {
    let text = format!(
        "issuers:\n  - name: shop\n    issuer: https://auth.example\n    audiences: [shop]\n    \
         algorithms: [ES256]\n    {issuer}\n{more}\n"
    );
    Config::parse("revoxy.yaml", &text, [])
}

fn mistake(issuer: &str, more: &str) -> String {
    let problems = parse(issuer, more).err();
    let problems = problems.map(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>());
    match problems.as_deref() {
        Some([one]) => one.clone(),
        other => format!("{other:?}"),
    }
}

const KEYS: &str = "keys: { jwks_url: https://auth.example/jwks }";

#[test]
#[rustfmt::skip]
fn a_mistake_about_keys_is_named_with_its_key() {
    for (keys, expected) in [
        ("{}", "keys: needs exactly one of"),
        ("{ discovery: true, jwks_url: https://a.example }", "keys: needs exactly one of"),
        ("{ discovery: true, pem_file: k.pem }", "keys: needs exactly one of"),
        ("{ pem_file: k.pem, refresh: 5m }", "keys: k.pem: a file is not fetched"),
        ("{ jwks_url: not-a-url }", "keys.jwks_url: not a URL"),
        ("{ jwks_url: http://auth.example/jwks }", "keys.jwks_url: must be https"),
        ("{ jwks_url: \"https://u:p@auth.example\" }", "keys.jwks_url: a URL with credentials"),
        ("{ jwks_url: \"ftp://auth.example\", allow_http: true }", "keys.jwks_url: must be https"),
        ("{ discovery: true, cooldown: 0s }", "keys.cooldown: must be from 1s to 600s"),
        ("{ discovery: true, max_age: 1s }", "keys.max_age: must be from 60s"),
        ("{ discovery: true, refresh: 1ms }", "keys.refresh: must be from 1s"),
        ("{ discovery: true, wait: 1m }", "keys.wait: must be from 0ns to 10s"),
        ("{ discovery: true, timeout: 0s }", "keys.timeout: must be from 100ms"),
        ("{ discovery: true, redirect_hosts: [\"https://cdn.example/\"] }", "keys.redirect_hosts: \"https://cdn.example/\" is not the name"),
        ("{ discovery: true, redirect_hosts: [\"cdn.example:443\"] }", "keys.redirect_hosts: \"cdn.example:443\" is not the name"),
        ("{ pem_file: k.pem, redirect_hosts: [cdn.example] }", "keys: k.pem: a file is not fetched"),
    ] {
        let found = mistake(&format!("keys: {keys}"), "");
        assert!(found.starts_with(&format!("revoxy.yaml:6: issuers.0.{expected}")), "{keys}: {found}");
    }
}

#[test]
fn a_mistake_about_claims_sources_or_the_cache_is_named_with_its_key() {
    for (issuer, more, expected) in [
        (
            "required_claims: [\"\"]",
            "",
            "issuers.0.required_claims: an empty name",
        ),
        (
            "profile: rfc6749",
            "",
            "issuers.0.profile: `rfc6749` is none of",
        ),
        ("", "token_sources: []", "token_sources: empty"),
        (
            "",
            "token_sources: [{}]",
            "token_sources.0: needs exactly one",
        ),
        (
            "",
            "token_sources: [{ cookie: a, query: b }]",
            "token_sources.0: needs exactly one",
        ),
        (
            "",
            "token_sources: [{ cookie: \"a b\" }]",
            "token_sources.0: not a name",
        ),
        (
            "",
            "token_sources: [{ query: \"a%20\" }]",
            "token_sources.0: not a name",
        ),
        (
            "",
            "token_sources: [{ cookie: a, scheme: x }]",
            "token_sources.0: `scheme` goes with",
        ),
        (
            "",
            "token_sources: [{ header: a, scheme: \"\" }]",
            "token_sources.0: `scheme` must be",
        ),
        (
            "",
            "token_sources: [{ header: a }, { header: A }]",
            "token_sources.1: this place",
        ),
        (
            "",
            "verification: { cache_entries: 99999999 }",
            "verification.cache_entries: more than",
        ),
        (
            "",
            "verification: { cache_bytes: 1000 }",
            "verification.cache_bytes: must be from 1048576",
        ),
        (
            "",
            "server: { max_connections: 0 }",
            "server.max_connections: must be from 1 to",
        ),
        (
            "",
            "server: { max_message_bytes: 100 }",
            "server.max_message_bytes: must be from 16384",
        ),
    ] {
        let found = mistake(&format!("{issuer}\n    {KEYS}"), more);
        assert!(
            found.contains(&format!(": {expected}")),
            "{issuer}{more}: {found}"
        );
    }
}

#[test]
fn an_issuer_whose_tokens_envoy_verifies_has_a_metadata_key_and_nothing_to_verify_with() {
    let parse = |more: &str| {
        let text = format!(
            "issuers:\n  - {{ name: a, issuer: https://a, verification: envoy_metadata{more} }}\n"
        );
        let config = Config::parse("revoxy.yaml", &text, []);
        config.map_err(|problems| problems.to_string())
    };
    let good = parse(", metadata_key: payload").unwrap();
    assert!(matches!(&good.issuers[0].keys, KeySource::Proxy(key) if key == "payload"));
    for (more, expected) in [
        ("", "metadata_key: missing"),
        (
            ", metadata_key: p, algorithms: [ES256]",
            "algorithms: Envoy",
        ),
        (
            ", metadata_key: p, keys: { discovery: true }",
            "keys: Envoy",
        ),
        (
            ", metadata_key: p, audiences: [a], profile: rfc9068",
            "profile: the `typ`",
        ),
    ] {
        let problems = parse(more).unwrap_err();
        assert!(problems.contains(expected), "{more}: {problems}");
    }
    let found = mistake(&format!("metadata_key: p\n    {KEYS}"), "");
    assert!(found.contains("metadata_key: goes with"), "{found}");
}

#[test]
fn the_profile_of_rfc_9068_needs_an_audience() {
    let text = format!(
        "issuers:\n  - {{ name: a, issuer: https://a, algorithms: [ES256], profile: rfc9068, {KEYS} }}\n"
    );
    let problems = Config::parse("revoxy.yaml", &text, []).unwrap_err();
    assert!(
        problems.to_string().contains("audiences: missing"),
        "{problems}"
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse("keys: { discovery: true }", "").unwrap();
    let KeySource::Remote(keys) = &config.issuers[0].keys else {
        unreachable!("discovery is remote");
    };
    let expected = Location::discovery("https://auth.example").unwrap();
    assert_eq!(keys.location, expected);
    assert_eq!(keys.timing.refresh, None);
    assert_eq!(keys.timing.cooldown, Duration::from_secs(10));
    assert_eq!(keys.timing.patience, Duration::from_millis(30));
    assert_eq!(config.verification.cache.entries, 65_536);
    assert_eq!(config.verification.cache.bytes, 160 << 20);
    assert_eq!(config.server.max_connections, 1024);
    assert_eq!(config.server.max_message_bytes, 256 << 10);
    assert_eq!(config.token_sources, [TokenSource::bearer()]);
    let config = parse(
        KEYS,
        "token_sources: [{ header: Authorization }, { header: X-T }]",
    );
    let places: Vec<_> = config
        .unwrap()
        .token_sources
        .into_iter()
        .map(|s| s.place)
        .collect();
    let header = |name: &str, scheme: Option<&str>| TokenPlace::Header {
        name: name.to_owned(),
        scheme: scheme.map(str::to_owned),
    };
    assert_eq!(
        places,
        [header("authorization", Some("Bearer")), header("x-t", None)]
    );
}

#[test]
fn a_relaxation_that_makes_no_sense_is_refused_at_its_place() {
    let secret = "keys: { secret_file: s }, algorithms: [HS256]";
    for (issuer, expected) in [
        (
            format!("issuer: a, {secret}, max_lifetime: 1h"),
            "issuers.0.max_lifetime: goes with `allow_missing_exp",
        ),
        (
            format!("issuer: a, {secret}, allow_missing_exp: true, max_lifetime: 0s"),
            "issuers.0.max_lifetime: must be from",
        ),
        (
            format!("issuer: a, {secret}, audiences: [a], profile: rfc9068, allow_missing_exp: true"),
            "issuers.0.allow_missing_exp: the profile",
        ),
        (
            format!("{secret}, issuer_pattern: \"https://{{tenant}}\""),
            "issuers.0.issuer_pattern: \"https://{tenant}\": no placeholder",
        ),
        (
            format!("{secret}, issuer_pattern: []"),
            "issuers.0.issuer_pattern: empty",
        ),
        (
            format!("issuer: [a, a], {secret}"),
            "issuers.0.issuer: another issuer has the same",
        ),
        (
            format!("issuer: {{}}, {secret}"),
            "issuers.0.issuer: must be a text, or a list",
        ),
        (
            format!("issuer: a, {secret}, sub_claim: []"),
            "issuers.0.sub_claim: name a claim",
        ),
        (
            format!("issuer: a, {secret}, client_claim: [cid, \"\"]"),
            "issuers.0.client_claim: name a claim",
        ),
        (
            format!("issuer: a, {secret}, required_claims: {{ client_id: [] }}"),
            "issuers.0.required_claims: `client_id`: an empty list",
        ),
        (
            "issuer: a, keys: { pem_file: p, allow_short_secret: true }, algorithms: [HS256]".to_owned(),
            "issuers.0.keys: secret_encoding and allow_short_secret go with",
        ),
        (
            "issuer: a, keys: { secret_file: p, secret_encoding: base32 }, algorithms: [HS256]".to_owned(),
            "issuers.0.keys.secret_encoding: `base32` is none of",
        ),
        (
            format!("issuer: a, {secret}, refresh_keys: {{ jwks_url: \"https://a.example\" }}"),
            "issuers.0.refresh_keys: needs a file",
        ),
        (
            format!("issuer: a, {secret}, refresh_keys: {{}}"),
            "issuers.0.refresh_keys: needs exactly one",
        ),
        (
            "issuer: [\"https://a\", \"https://b\"], keys: { discovery: true }, algorithms: [ES256]".to_owned(),
            "issuers.0.keys.discovery: goes with one `issuer`",
        ),
        (
            "issuer: a, verification: envoy_metadata, metadata_key: p, refresh_keys: { secret_file: s }".to_owned(),
            "issuers.0.refresh_keys: Envoy verifies",
        ),
    ] {
        let text = format!("issuers:\n  - {{ name: a, {issuer} }}\n");
        let problems = Config::parse("revoxy.yaml", &text, []).unwrap_err();
        let problems = problems.to_string();
        assert!(problems.contains(expected), "{issuer}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    let text = format!(
        "issuers: [{{ name: a, issuer: a, {secret}, allow_missing_exp: true }}]\nrevocation: {{ note_tokens: true }}"
    );
    let problems = Config::parse("revoxy.yaml", &text, []).unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("notes of tokens that never expire")
    );
}

#[test]
fn an_algorithm_may_be_called_by_its_name_of_rfc_9864() {
    let text =
        "issuers: [{ name: a, issuer: a, algorithms: [Ed25519, ES512], keys: { pem_file: p } }]";
    let config = Config::parse("revoxy.yaml", text, []).unwrap();
    let expected = [Algorithm::EdDSA, Algorithm::ES512];
    assert_eq!(config.issuers[0].profile.algorithms, expected);
}

#[test]
fn tokens_without_iss_can_belong_to_one_issuer_only() {
    let parse = |issuers: &[&str]| {
        let entry = |more: &&str| {
            format!("  - {{ algorithms: [HS256], keys: {{ secret_file: s }}, {more} }}\n")
        };
        let entries: String = issuers.iter().map(entry).collect();
        let config = Config::parse("revoxy.yaml", &format!("issuers:\n{entries}"), []);
        config.map_err(|problems| problems.to_string())
    };
    let config = parse(&["name: a, allow_missing_iss: true", "name: b, issuer: b"]).unwrap();
    let profiles: Vec<_> = config.issuers.iter().map(|i| &i.profile).collect();
    assert_eq!(
        (&profiles[0].issuer, profiles[0].missing_iss),
        (&None, true)
    );
    assert_eq!(profiles[1].issuer.as_deref(), Some("b"));
    assert!(!profiles[1].missing_iss);
    parse(&["name: a, issuer: a, allow_missing_iss: true"]).unwrap();
    for (issuers, expected) in [
        (&["name: a"][..], "issuers.0.issuer: missing"),
        (
            &[
                "name: a, allow_missing_iss: true",
                "name: b, issuer: b, allow_missing_iss: true",
            ],
            "issuers.1.allow_missing_iss: another issuer has it",
        ),
        (
            &["name: a, issuer: a, audiences: [a], profile: rfc9068, allow_missing_iss: true"],
            "issuers.0.allow_missing_iss: the profile",
        ),
    ] {
        let problems = parse(issuers).unwrap_err();
        assert!(problems.contains(expected), "{issuers:?}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    for (issuer, expected) in [
        (
            "keys: { discovery: true }, algorithms: [ES256]",
            "keys.discovery: needs `issuer`",
        ),
        (
            "verification: envoy_metadata, metadata_key: p",
            "allow_missing_iss: goes with keys",
        ),
    ] {
        let text = format!("issuers:\n  - {{ name: a, allow_missing_iss: true, {issuer} }}\n");
        let problems = Config::parse("revoxy.yaml", &text, [])
            .unwrap_err()
            .to_string();
        assert!(problems.contains(expected), "{issuer}: {problems}");
    }
}

#[test]
fn a_mistake_about_postgres_is_named_with_its_key() {
    let of_store = |store: &str| format!("revocation: {{ store: {{ {store} }} }}");
    for (more, expected) in [
        (
            of_store("postgres: {}"),
            "revocation.store.postgres.url: missing: for example postgres://",
        ),
        (
            of_store("postgres: { url: \"postgres://db\", max_connections: 0 }"),
            "revocation.store.postgres.max_connections: 0",
        ),
        (
            of_store("postgres: { url: \"postgres://db\", timeout: 0s }"),
            "revocation.store.postgres.timeout: zero",
        ),
        (
            of_store("postgres: { url: \"postgres://db\" }, memory: {}"),
            "revocation.store: more than one store",
        ),
        (
            "revocation: { deletions: ignore, store: { postgres: { url: \"postgres://db\" } } }"
                .to_owned(),
            "revocation.deletions: `ignore` is for Redis",
        ),
    ] {
        let found = mistake(KEYS, &more);
        assert!(found.contains(&format!(": {expected}")), "{more}: {found}");
    }
}

#[test]
fn waits_of_a_check_that_do_not_fit_into_one_try_of_envoy_are_warned_about() {
    let time_limit_warnings = |wait: &str, more: &str| -> Vec<String> {
        let keys = format!("keys: {{ jwks_url: https://auth.example/jwks{wait} }}");
        let config = parse(&keys, more).unwrap();
        config
            .time_limit_warnings()
            .iter()
            .map(Problem::as_warning)
            .collect()
    };
    let redis = |timeout: &str| {
        format!("revocation: {{ store: {{ redis: {{ url: redis://redis:6379/0{timeout} }} }} }}")
    };
    for (wait, more) in [
        ("", String::new()),
        ("", redis("")),
        (", wait: 80ms", String::new()),
        (", wait: 30ms", redis(", timeout: 50ms")),
        (", wait: 0ms", redis(", timeout: 80ms")),
    ] {
        assert_eq!(time_limit_warnings(wait, &more), [""; 0], "{wait} {more}");
    }
    let keys = "revoxy.yaml:6: warning: issuers.0.keys.wait: a check waits 81ms for keys, and one try of Envoy lasts 100ms ";
    let found = time_limit_warnings(", wait: 81ms", "");
    assert!(found.len() == 1 && found[0].starts_with(keys), "{found:?}");
    assert!(found[0].contains("at most 80ms"), "{found:?}");
    let found = time_limit_warnings(", wait: 31ms", &redis(""));
    let both = "waits 31ms for keys and then 50ms for the store (revocation.store.redis.timeout)";
    assert!(found.len() == 1 && found[0].contains(both), "{found:?}");
    assert!(found[0].contains("at most 30ms"), "{found:?}");
    let found = time_limit_warnings(", wait: 31ms", &redis(", timeout: 81ms"));
    let store = "revocation.store.redis.timeout: a check waits 81ms for the store, ";
    assert!(found.len() == 1 && found[0].contains(store), "{found:?}");
}
