//! Wrong configurations: exit status 2, every mistake named with its place, no panic, nothing served.

use jsonwebtoken::Algorithm;

use crate::support::server::{revoxy, run, run_with};
use crate::support::{Config, Revoxy, Scratch, SigningKey};

/// Starts with `yaml`, which must fail; returns what was said beside the log.
pub(crate) async fn mistakes(scratch: &Scratch, yaml: &str) -> Vec<String> {
    mistakes_with(scratch, yaml, &[]).await
}

async fn mistakes_with(scratch: &Scratch, yaml: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let path = scratch.write("bad.yaml", yaml);
    let mut command = revoxy(&["serve", "--config", path.to_str().unwrap()]);
    command.envs(environment.iter().copied());
    let (status, said) = run(scratch, &mut command).await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains("\"message\":\"ready\""), "{said}");
    let name = format!("{}", path.display());
    let lines = said.lines().filter(|l| !l.starts_with('{'));
    lines.map(|l| l.replace(&name, "bad.yaml")).collect()
}

/// The line in which `part` stands, as a place.
pub fn place(yaml: &str, part: &str) -> String {
    let index = yaml.lines().position(|l| l.contains(part));
    format!(
        "bad.yaml:{}: ",
        index.unwrap_or_else(|| panic!("no {part} in {yaml}")) + 1
    )
}

/// Replaces what stands in a good configuration exactly once, and expects one mistake, at the line of the new text.
async fn one_mistake(from: &str, to: &str, path: &str, message: &str) {
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::ES256);
    let good = Config::trusting(&key, &scratch).yaml();
    assert_eq!(good.matches(from).count(), 1, "{from} in {good}");
    let bad = good.replace(from, to);
    let found = mistakes(&scratch, &bad).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = format!("{}{path}: ", place(&bad, to.lines().next().unwrap()));
    assert!(found[0].starts_with(&expected), "{found:?}\n{expected}");
    assert!(found[0].contains(message), "{found:?}");
}

#[tokio::test]
async fn a_mistake_is_named_with_its_line_and_its_path() {
    let store = "  store: { memory: {} }";
    let public = "  public: { token: none }";
    let pem = "pem_file: ";
    for (from, to, path, message) in [
        (
            "audiences: [shop]",
            "audience: [shop]",
            "issuers.0.audience",
            "unknown key",
        ),
        (
            "audiences: [shop]",
            "audiences: []",
            "issuers.0.audiences",
            "empty",
        ),
        (
            "audiences: [shop]",
            "audiences: shop",
            "issuers.0.audiences",
            "must be a list, such as [shop]",
        ),
        (
            "algorithms: [ES256]",
            "algorithms: [none]",
            "issuers.0.algorithms.0",
            "`none` is none of `HS256`",
        ),
        ("name: shop", "name: a:b", "issuers.0.name", "characters"),
        (
            "    keys: {",
            "    leeway: 1h\n    keys: {",
            "issuers.0.leeway",
            "5m",
        ),
        (
            pem,
            "pem_file: /nowhere, jwks_file: ",
            "issuers.0.keys",
            "exactly one",
        ),
        (
            store,
            "  store: { memory: {}, sqlite: {} }",
            "revocation.store",
            "more than one",
        ),
        (
            store,
            "  store: { mysql: {} }",
            "revocation.store.mysql",
            "unknown key",
        ),
        (
            store,
            "  store: { redis: {} }",
            "revocation.store.redis.url",
            "missing",
        ),
        (
            store,
            "  store: { redis: { url: x } }",
            "revocation.store.redis.url",
            "must begin with redis://",
        ),
        (
            store,
            "  token_types: []",
            "revocation.token_types",
            "empty",
        ),
        (store, "  enabled: 5", "revocation.enabled", "true or false"),
        (
            store,
            "  on_unavailable: hope",
            "revocation.on_unavailable",
            "is none of",
        ),
        (
            store,
            "  on_unavailable: serve_stale",
            "revocation.on_unavailable.serve_stale",
            "{ serve_stale: 5s }",
        ),
        (
            store,
            "  on_unavailable: { serve_stale: soon }",
            "revocation.on_unavailable.serve_stale",
            "length of time",
        ),
        (
            store,
            "  max_staleness: 50ms",
            "revocation.max_staleness",
            "less than 100ms",
        ),
        (
            store,
            "  compare_every: 10ms",
            "revocation.compare_every",
            "less than 1s",
        ),
        (store, "  read: cache", "revocation.read", "is none of"),
        (
            store,
            "  deletions: maybe",
            "revocation.deletions",
            "is none of",
        ),
        (
            public,
            "  public: { on_unavailable: hope }",
            "policies.public.on_unavailable",
            "is none of",
        ),
        (
            public,
            "  public: { token: maybe }",
            "policies.public.token",
            "is none of",
        ),
        (
            public,
            "  unknown: { token: none }",
            "policies.unknown",
            "choose another",
        ),
        (
            public,
            "routes: [{ policy: nowhere }]",
            "routes.0",
            "no policy `nowhere`",
        ),
        (
            public,
            "routes: [{ path: x, policy: any }]",
            "routes.0",
            "start with `/`",
        ),
        (
            "check: \"127.0.0.1:0\"",
            "check: \"9001\"",
            "server.check",
            "address and port",
        ),
        (
            "delay: 0s",
            "delay: soon",
            "server.shutdown.delay",
            "length of time",
        ),
        (
            "delay: 0s",
            "delay: 5",
            "server.shutdown.delay",
            "length of time",
        ),
    ] {
        one_mistake(from, to, path, message).await;
    }
}

#[tokio::test]
async fn all_mistakes_are_reported_at_once() {
    let scratch = Scratch::new();
    let yaml = "server:
  check: nowhere
  speed: fast
issuers:
  - name: Shop
    audiences: []
    algorithms: [RS256, rot13]
    keys: { pem_file: a, secret_file: b }
  - name: other
revocation:
  token_types: [access, id]
  store: { memory: {}, redis: {} }
policies:
  default: { token: perhaps }
  x: 5
routes:
  - { policy: nothing }
metrics: {}
";
    let found = mistakes(&scratch, yaml).await;
    for (line, path) in [
        (2, "server.check"),
        (3, "server.speed"),
        (5, "issuers.0.name"),
        (5, "issuers.0.issuer"),
        (6, "issuers.0.audiences"),
        (7, "issuers.0.algorithms.1"),
        (8, "issuers.0.keys"),
        (9, "issuers.1.issuer"),
        (9, "issuers.1.algorithms"),
        (9, "issuers.1.keys"),
        (11, "revocation.token_types.1"),
        (12, "revocation.store"),
        (14, "policies.default.token"),
        (15, "policies.x"),
        (17, "routes.0"),
        (18, "metrics"),
    ] {
        let expected = format!("bad.yaml:{line}: {path}: ");
        let named = found.iter().filter(|m| m.starts_with(&expected)).count();
        assert_eq!(named, 1, "{expected}\n{}", found.join("\n"));
    }
}

#[tokio::test]
async fn what_is_no_configuration_at_all_is_refused() {
    let scratch = Scratch::new();
    for (yaml, part) in [
        ("", "no issuer"),
        ("# nothing\n", "no issuer"),
        ("---\n", "no issuer"),
        ("issuers: [\n", "not YAML"),
        ("a: b: c\n", "not YAML"),
        ("just text\n", "not a mapping"),
        ("- a\n- b\n", "not a mapping"),
        ("a: 1\n---\nb: 2\n", "more than one YAML document"),
        ("\0\u{1}", "bad.yaml"),
        ("issuers: &a [*a]\n", "bad.yaml"),
    ] {
        let found = mistakes(&scratch, yaml).await;
        assert!(!found.is_empty(), "{yaml:?}");
        assert!(found[0].starts_with("bad.yaml"), "{yaml:?}: {found:?}");
        assert!(found[0].contains(part), "{yaml:?}: {found:?}");
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    assert!(!mistakes(&scratch, &deep).await.is_empty());
    let (status, said) = run(&scratch, &mut revoxy(&["serve", "-c", "/no/where.yaml"])).await;
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("/no/where.yaml: cannot be read"), "{said}");
}

#[tokio::test]
async fn mistakes_in_the_environment_are_named_by_variable() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let good = Config::trusting(&key, &scratch).yaml();
    for (variable, value, message) in [
        ("REVOXY__SERVER__CHECK", "nowhere", "server.check: "),
        ("REVOXY__SERVER__SPEED", "fast", "server.speed: unknown key"),
        (
            "REVOXY__ISSUERS__0__AUDIENCES",
            "[]",
            "issuers.0.audiences: empty",
        ),
        ("REVOXY__ISSUERS__7__NAME", "x", "nothing at `7`"),
        (
            "REVOXY__REVOCATION__ENABLED",
            "maybe",
            "revocation.enabled: ",
        ),
        (
            "REVOXY__POLICIES__DEFAULT__TOKEN",
            "perhaps",
            "policies.default.token: ",
        ),
    ] {
        let found = mistakes_with(&scratch, &good, &[(variable, value)]).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{variable}: ")), "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
    }
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let good = Config::trusting(&key, &scratch).yaml();
    let bad = good.replace("audiences: [shop]", "audiences: []");
    let path = scratch.write("bad.yaml", &bad);
    let mut command = revoxy(&["check-config", "--config", path.to_str().unwrap()]);
    command.env("REVOXY__ISSUERS__0__AUDIENCES", "[shop, other]");
    // What Kubernetes makes for a Service called `revoxy`.
    command.env("REVOXY_PORT", "tcp://10.0.0.1:9001");
    command.env("REVOXY_SERVICE_HOST", "10.0.0.1");
    let (status, said) = run(&scratch, &mut command).await;
    assert!(status.success(), "{said}");
    let (status, _) = Revoxy::refused(&scratch, &bad).await;
    assert_eq!(status.code(), Some(2));
}

#[tokio::test]
async fn time_limits_that_do_not_fit_are_warned_about_and_are_no_mistakes() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let mut config = Config::trusting(&key, &scratch);
    config.keys = "{ jwks_url: \"https://auth.example/jwks\", wait: 150ms }".to_owned();
    let yaml = config.yaml();
    let (status, said) = run_with(&scratch, &["check-config"], &yaml).await;
    assert!(status.success(), "{said}");
    let said = said.replace(&scratch.name("revoxy.yaml"), "bad.yaml");
    let warning = "warning: issuers.0.keys.wait: a check waits 150ms for keys, and one try of Envoy lasts 100ms";
    let expected = format!("{}{warning}", place(&yaml, "wait: 150ms"));
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn a_variable_with_one_underscore_where_two_are_needed_is_warned_about() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let yaml = Config::trusting(&key, &scratch).yaml();
    let path = scratch.write("good.yaml", &yaml);
    let variables = [
        ("REVOXY_SERVER_CHECK", "127.0.0.1:1"),
        // What Kubernetes makes for Services called `revoxy` and `revoxy-policies`.
        ("REVOXY_PORT", "tcp://10.0.0.1:9001"),
        ("REVOXY_PORT_9001_TCP_ADDR", "10.0.0.1"),
        ("REVOXY_SERVICE_HOST", "10.0.0.1"),
        ("REVOXY_API_SERVICE_PORT_HTTP", "9004"),
        ("REVOXY_POLICIES_PORT", "tcp://10.0.0.1:9001"),
    ];
    let warning = "REVOXY_SERVER_CHECK: warning: server.check: ";
    for command in ["check-config", "doctor"] {
        let mut command = revoxy(&[command, "--config", path.to_str().unwrap()]);
        let (_, said) = run(&scratch, command.envs(variables)).await;
        assert!(said.contains(warning), "{said}");
        assert!(said.contains("REVOXY__SERVER__CHECK"), "{said}");
        assert_eq!(said.matches("REVOXY_").count(), 2, "{said}");
    }
    let mut command = revoxy(&["serve", "--config", path.to_str().unwrap()]);
    let served = Revoxy::start_as(command.envs(variables), &scratch).await;
    let output = served.process.output();
    let mut lines = output.lines().filter(|l| l.contains("REVOXY_"));
    let logged = lines.next().unwrap_or_default();
    assert!(logged.contains("WARN"), "{output}");
    assert!(logged.contains("REVOXY__SERVER__CHECK"), "{output}");
    assert_eq!(lines.next(), None, "{output}");
}

#[tokio::test]
async fn a_variable_with_one_underscore_is_named_beside_the_mistakes_that_it_may_have_caused() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let good = Config::trusting(&key, &scratch).yaml();
    let bad = good.replace("audiences: [shop]", "audiences: []");
    let variable = ("REVOXY_ISSUERS_0_AUDIENCES", "[shop]");
    let found = mistakes_with(&scratch, &bad, &[variable]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("issuers.0.audiences: empty"), "{found:?}");
    let warning = "REVOXY_ISSUERS_0_AUDIENCES: warning: issuers.0.audiences: ";
    assert!(found[1].starts_with(warning), "{found:?}");
}

#[tokio::test]
async fn a_variable_with_two_underscores_that_fits_no_key_is_a_mistake_in_that_variable() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let good = Config::trusting(&key, &scratch).yaml();
    for (variable, message) in [
        ("REVOXY__", "unknown key"),
        (
            "REVOXY___SERVER__CHECK",
            "unknown key; did you mean REVOXY__SERVER__CHECK?",
        ),
        (
            "REVOXY__SERVER_CHECK",
            "unknown key; did you mean REVOXY__SERVER__CHECK?",
        ),
        (
            "REVOXY__REVOCATION__STORE_REDIS__URL",
            "unknown key; did you mean REVOXY__REVOCATION__STORE__REDIS__URL?",
        ),
        ("REVOXY__SERVER__CHECK__X", "nothing at `x`"),
        ("REVOXY__REVOCATION__STORE__MEMORY__X", "unknown key"),
    ] {
        let found = mistakes_with(&scratch, &good, &[(variable, "1")]).await;
        assert_eq!(found.len(), 1, "{variable}: {found:?}");
        assert!(found[0].starts_with(&format!("{variable}: ")), "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
    }
}

#[tokio::test]
async fn a_variable_whose_value_is_not_unicode_is_a_mistake() {
    use std::os::unix::ffi::OsStrExt as _;
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let path = scratch.write("good.yaml", Config::trusting(&key, &scratch).yaml());
    let mut command = revoxy(&["check-config", "--config", path.to_str().unwrap()]);
    command.env(
        "REVOXY__SERVER__CHECK",
        std::ffi::OsStr::from_bytes(b"\xff"),
    );
    let (status, said) = run(&scratch, &mut command).await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.starts_with("REVOXY__SERVER__CHECK: "), "{said}");
}
