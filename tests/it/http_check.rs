//! Checks over plain HTTP: behind a real nginx with the documented configuration, and as other proxies ask.

use std::net::SocketAddr;

use jsonwebtoken::Algorithm;
use reqwest::{Method, RequestBuilder, Response};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::server::{client, listens_at, run_with};
use crate::support::{
    Config, Mood, Nginx, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, Upstream, eventually,
};

const SECTIONS: &str = "  admins: { claims: { roles: { contains: admin } } }
upstream: { headers: { x-auth-user: sub } }
routes:
  - { path: /public, policy: public }
  - { host: open.example, policy: public }";

struct Scene {
    key: SigningKey,
    revoxy: Revoxy,
    /// The address of the HTTP check.
    check: String,
    http: reqwest::Client,
    scratch: Scratch,
}

impl Scene {
    async fn set(described_by: &str) -> Self {
        Self::with_store(described_by, "memory: {}").await
    }

    async fn with_store(described_by: &str, store: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let config = Config::trusting(&key, &scratch)
            .store(store)
            .section(SECTIONS);
        let listener = format!(
            "server:\n  http_check: {{ listen: 127.0.0.1:0, described_by: {described_by} }}"
        );
        let yaml = config.yaml().replacen("server:", &listener, 1);
        let path = scratch.write("revoxy.yaml", &yaml);
        let mut serve = crate::support::server::revoxy(&["serve", "--config"]);
        let revoxy = Revoxy::start_as(serve.arg(path), &scratch).await;
        Self {
            check: listens_at(&revoxy.process, "http_check").unwrap(),
            revoxy,
            key,
            http: client(),
            scratch,
        }
    }

    /// A check as a proxy asks for it, about a request with this token.
    fn ask(&self, path: &str, described: &[(&str, &str)], token: Option<&str>) -> RequestBuilder {
        let url = format!("http://{}{path}", self.check);
        let mut request = self.http.request(Method::GET, url);
        for (name, value) in described {
            request = request.header(*name, *value);
        }
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn token(&self, jti: &str) -> String {
        Token::access(jti).sign(&self.key)
    }
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// Sends a request as it stands. Returns the status of the answer.
async fn raw(address: SocketAddr, request: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The block of nginx's configuration in the documentation.
fn documented(check: &str, app: &str) -> String {
    let page = include_str!("../../docs/http-check.md");
    let (_, block) = page.split_once("```nginx\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    assert!(block.contains("127.0.0.1:9092") && block.contains("127.0.0.1:8000"));
    block
        .replace("127.0.0.1:9092", check)
        .replace("127.0.0.1:8000", app)
}

#[tokio::test]
async fn behind_nginx_only_valid_tokens_pass_and_the_application_knows_whose_they_are() {
    let scene = Scene::set("x_original").await;
    let app = Upstream::start().await;
    let server = documented(&scene.check, &app.address.to_string());
    let nginx = Nginx::start(&scene.scratch, &server).await;
    let get = async |path: &str, token: Option<&str>| {
        let url = format!("http://{}{path}", nginx.address);
        let request = scene.http.get(url).header("X-Auth-User", "mallory");
        // What nginx says of the request counts, not what the client says.
        let request = request
            .header("X-Original-URI", "/public")
            .header("X-Original-Method", "OPTIONS");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap()
    };
    let good = scene.token("good");
    let seen = get("/orders?page=2", Some(&good)).await;
    assert_eq!(seen.status(), 200);
    let echo: serde_json::Value = serde_json::from_str(&seen.text().await.unwrap()).unwrap();
    assert_eq!(
        (&echo["path"], &echo["query"]),
        (&"/orders".into(), &"page=2".into())
    );
    assert_eq!(echo["headers"]["x-auth-user"], "alice");

    let seen = get("/public", Some(&good)).await;
    let echo: serde_json::Value = serde_json::from_str(&seen.text().await.unwrap()).unwrap();
    assert_eq!(echo["headers"].get("x-auth-user"), None, "{echo}");

    let seen = get("/orders", None).await;
    assert_eq!(
        (seen.status().as_u16(), header(&seen, "www-authenticate")),
        (401, "Bearer realm=\"revoxy\"")
    );
    assert_eq!(get("/admin/", Some(&good)).await.status(), 403);
    let admin = Token::access("admin")
        .with("roles", vec!["admin"])
        .sign(&scene.key);
    assert_eq!(get("/admin/", Some(&admin)).await.status(), 200);

    scene.revoxy.revoke(&good).await;
    let seen = get("/orders", Some(&good)).await;
    assert_eq!(seen.status(), 401);
    assert!(
        header(&seen, "www-authenticate").contains("revoked"),
        "{seen:?}"
    );
    assert_eq!(get("/public/..%2forders", Some(&admin)).await.status(), 403);
    assert_eq!(get("/admin/..%2forders", Some(&admin)).await.status(), 403);
    // The host of an absolute URI is what nginx and the application go by.
    let request = "GET http://shop.example/orders HTTP/1.1\r\nHost: open.example\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(nginx.address, request).await, 401);
}

#[tokio::test]
async fn behind_nginx_an_outage_is_503() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let scene = Scene::with_store("x_original", &proxy.store()).await;
    let app = Upstream::start().await;
    let server = documented(&scene.check, &app.address.to_string());
    let nginx = Nginx::start(&scene.scratch, &server).await;
    let token = scene.token("a");
    let status = async || {
        let url = format!("http://{}/orders", nginx.address);
        let seen = scene
            .http
            .get(url)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        (
            seen.status().as_u16(),
            header(&seen, "retry-after").to_owned(),
        )
    };
    assert_eq!(status().await.0, 200);
    proxy.set(Mood::Hanging);
    eventually("503", async || {
        (status().await == (503, "1".to_owned())).then_some(())
    })
    .await;
    proxy.set(Mood::Passing);
    eventually("200", async || (status().await.0 == 200).then_some(())).await;
}

#[tokio::test]
async fn as_traefik_and_caddy_describe_it_a_request_is_checked_under_routes_or_a_named_policy() {
    let scene = Scene::set("x_forwarded").await;
    let described = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Forwarded-Uri", "/orders?x=1"),
        ("X-Forwarded-Proto", "https"),
    ];
    let token = scene.token("a");
    for (path, token, status, reason) in [
        ("/check", Some(&*token), 200, "ok"),
        ("/check/default", Some(&token), 200, "ok"),
        ("/check/admins", Some(&token), 403, "insufficient_claims"),
        ("/check/nobody", Some(&token), 503, "unknown_policy"),
        ("/check", None, 401, "no_token"),
        ("/check/public", None, 200, "public"),
        ("/elsewhere", Some(&token), 503, "bad_check_request"),
        ("/check/", Some(&token), 503, "bad_check_request"),
    ] {
        let seen = scene.ask(path, &described, token).send().await.unwrap();
        assert_eq!(seen.status(), status, "{path}");
        assert_eq!(header(&seen, "x-revoxy-reason"), reason, "{path}");
        let user = if reason == "ok" { "alice" } else { "" };
        assert_eq!(header(&seen, "x-auth-user"), user, "{path}");
    }
    let other = described.map(|(n, v)| (n, if n == "X-Forwarded-Uri" { "/public" } else { v }));
    let seen = scene.ask("/check", &other, None).send().await.unwrap();
    assert_eq!(header(&seen, "x-revoxy-reason"), "public");
    // A named policy looks at no path; the proxy has chosen its route by one.
    for path in ["/public/..%2forders", "/a//b", "/%61dmin"] {
        let odd = described.map(|(n, v)| (n, if n == "X-Forwarded-Uri" { path } else { v }));
        let seen = scene
            .ask("/check/default", &odd, Some(&token))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (seen.status().as_u16(), header(&seen, "x-revoxy-reason")),
            (403, "ambiguous_path")
        );
    }
}

#[tokio::test]
async fn a_request_that_is_not_described_or_twice_is_never_allowed() {
    let scene = Scene::set("x_original").await;
    let token = scene.token("a");
    let whole = [
        ("x-original-method", "GET"),
        ("x-original-host", "shop.example"),
        ("x-original-uri", "/public"),
    ];
    let good = scene
        .ask("/check", &whole, Some(&token))
        .send()
        .await
        .unwrap();
    assert_eq!(good.status(), 200);
    for at in 0..whole.len() {
        let mut missing = whole.to_vec();
        let part = missing.remove(at);
        let mut twice = whole.to_vec();
        twice.push(part);
        for described in [missing, twice] {
            let seen = scene
                .ask("/check", &described, Some(&token))
                .send()
                .await
                .unwrap();
            assert_eq!(seen.status(), 503, "{described:?}");
            assert_eq!(header(&seen, "x-revoxy-reason"), "bad_check_request");
        }
    }
    let mut joined = whole;
    joined[1].1 = "shop.example, public.example";
    let seen = scene
        .ask("/check", &joined, Some(&token))
        .send()
        .await
        .unwrap();
    assert_eq!(seen.status(), 503);
}

#[tokio::test]
async fn a_request_that_is_sent_on_is_checked_itself() {
    let scene = Scene::set("itself").await;
    let token = scene.token("a");
    for (path, token, status, reason) in [
        ("/orders", Some(&*token), 200, "ok"),
        ("/orders", None, 401, "no_token"),
        ("/public", None, 200, "public"),
        ("/check/public", None, 401, "no_token"),
    ] {
        let seen = scene.ask(path, &[], token).send().await.unwrap();
        assert_eq!(
            (seen.status().as_u16(), header(&seen, "x-revoxy-reason")),
            (status, reason),
            "{path}"
        );
    }
    let seen = scene.ask("/public", &[], None).send().await.unwrap();
    let removed = header(&seen, "x-envoy-auth-headers-to-remove");
    assert!(
        removed.split(',').any(|name| name == "x-auth-user"),
        "{removed}"
    );
    assert!(
        removed.split(',').any(|name| name == "x_auth_user"),
        "{removed}"
    );
}

#[tokio::test]
async fn who_describes_the_request_has_to_be_configured() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch);
    let yaml = config
        .yaml()
        .replacen("server:", "server:\n  http_check: {}", 1);
    let (status, output) = run_with(&scratch, &["check-config"], &yaml).await;
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(
        output.contains("needs `described_by`: x_original (nginx)"),
        "{output}"
    );
}
