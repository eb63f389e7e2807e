//! Applications that already revoke, taken as they are: a client, a real Envoy, Revoxy, and behind it a real application
//! that logs out in its own way, by writing its own keys to Redis.
//!
//! What is asserted each time: that Revoxy refuses, and that the application did not have to.

mod flask3;
mod flask4;
mod node;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::Value;

use crate::support::application::{Application, Kind};
use crate::support::envoy::Seen;
use crate::support::server::revoxy;
use crate::support::{Envoy, Redis, Revoxy, Scratch, eventually};

/// Shared by the application and Revoxy, as it is with HS256.
const SECRET: &str = "a secret of the application's, long enough for HS256";

/// A busy machine is no reason for a 503 here.
const PATIENT: [(&str, &str); 2] = [
    (" timeout: 0.25s", " timeout: 20s"),
    ("max_interval: 0.1s", "max_interval: 10s"),
];

/// How checks find out: both must do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    View,
    Store,
}

struct Scene {
    envoy: Envoy,
    app: Application,
    revoxy: Revoxy,
    redis: Redis,
    scratch: Scratch,
}

impl Scene {
    /// With these `revocation.lookups`.
    async fn set(kind: Kind, read: Read, lookups: &str) -> Self {
        let (app, redis, scratch) = started(kind).await;
        Self::around(app, redis, scratch, read, lookups).await
    }

    /// Puts an application behind Envoy and Revoxy.
    async fn around(
        app: Application,
        redis: Redis,
        scratch: Scratch,
        read: Read,
        lookups: &str,
    ) -> Self {
        let secret = scratch.write("secret", SECRET);
        let read = match read {
            Read::View => "view",
            Read::Store => "store",
        };
        // Nothing in it asks the application for anything: its tokens have neither `iss` nor `aud`.
        let yaml = format!(
            "server:
  check: 127.0.0.1:0
  operations: 127.0.0.1:0
  api: 127.0.0.1:0
  shutdown: {{ delay: 0s, drain: 2s }}
issuers:
  - name: app
    allow_missing_iss: true
    algorithms: [HS256]
    keys: {{ secret_file: {secret:?} }}
revocation:
  read: {read}
  lookups: [{lookups}]
  store: {{ redis: {{ url: {:?}, timeout: 5s }} }}
policies:
  refresh: {{ token_type: refresh }}
  public: {{ token: none }}
",
            redis.url()
        );
        let config = scratch.write("revoxy.yaml", yaml);
        let mut serve = revoxy(&["serve", "--config", config.to_str().unwrap()]);
        let revoxy = Revoxy::start_as(&mut serve, &scratch).await;
        Self {
            envoy: Envoy::start_edited(&scratch, &revoxy.check, app.address, &PATIENT).await,
            app,
            revoxy,
            redis,
            scratch,
        }
    }

    async fn call(&self, method: Method, path: &str, token: &str) -> Seen {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        self.envoy.call(method, path, &headers).await
    }

    async fn log_in(&self) -> Session {
        let seen = self.envoy.call(Method::POST, "/login", &[]).await;
        assert!(matches!(seen.status, 200 | 201), "{seen:?}");
        Session::of(&seen.body)
    }

    /// The application's answer, which it gave itself.
    async fn passes(&self, method: Method, path: &str, token: &str) -> Seen {
        let before = self.app.served(path).await;
        let seen = self.call(method, path, token).await;
        assert!(matches!(seen.status, 200 | 201), "{path}: {seen:?}");
        assert_eq!(self.app.served(path).await, before + 1, "{path}");
        seen
    }

    async fn may_use(&self, session: &Session) {
        self.passes(Method::GET, "/protected", &session.access)
            .await;
    }

    async fn logs_out(&self, session: &Session) {
        self.passes(Method::DELETE, "/logout", &session.access)
            .await;
    }

    /// Revoxy says that the token is revoked, soon and from then on, and the application hears nothing of it.
    async fn refuses(&self, method: Method, path: &str, token: &str, policy: &str) {
        let what = format!("a refusal of {path}");
        eventually(&what, async || {
            let seen = self.call(method.clone(), path, token).await;
            (seen.reason() == "revoked").then_some(())
        })
        .await;
        let counted = self.refusals(policy).await;
        let before = self.app.served(path).await;
        for _ in 0..3 {
            let seen = self.call(method.clone(), path, token).await;
            assert_eq!((seen.status, seen.reason()), (401, "revoked"), "{seen:?}");
        }
        assert_eq!(self.app.served(path).await, before, "{path}");
        let more = self.refusals(policy).await - counted;
        assert!((more - 3.0).abs() < 0.1, "{more}");
    }

    /// Where Revoxy has its knowledge from: to follow and to ask are two ways to the same.
    async fn knows_by(&self, read: Read) {
        let entries = self.revoxy.metric("revoxy_revocation_view_entries").await;
        assert_eq!(entries > 0.0, read == Read::View, "{read:?}: {entries}");
        let asked = "revoxy_revocation_lookup_duration_seconds_count";
        let asked = self.revoxy.metric(asked).await;
        assert!(asked > 0.0 || read == Read::View, "{read:?}: {asked}");
    }

    async fn refuses_access(&self, session: &Session) {
        let (path, token) = ("/protected", &session.access);
        self.refuses(Method::GET, path, token, "default").await;
    }

    /// How many tokens Revoxy has refused as revoked.
    async fn refusals(&self, policy: &str) -> f64 {
        let series = format!(
            "revoxy_checks_total{{decision=\"deny\",policy=\"{policy}\",reason=\"revoked\"}}"
        );
        self.revoxy.metric(&series).await
    }

    /// The application lets this token pass soon.
    async fn allows_soon(&self, session: &Session) {
        eventually("an allowed request", async || {
            let seen = self.call(Method::GET, "/protected", &session.access).await;
            (seen.status == 200).then_some(())
        })
        .await;
    }

    /// What stands in Redis under this key, and for how many seconds more.
    fn stored(&self, key: &str) -> (Option<String>, i64) {
        (self.redis.run(&["GET", key]), self.redis.run(&["TTL", key]))
    }
}

/// An application without Envoy and Revoxy.
async fn started(kind: Kind) -> (Application, Redis, Scratch) {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let app = Application::start(kind, SECRET, &redis.url(), &scratch).await;
    (app, redis, scratch)
}

struct Session {
    access: String,
    refresh: String,
}

impl Session {
    /// From the answer to a login.
    fn of(body: &Value) -> Self {
        let token = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Self {
            access: token("access_token"),
            refresh: token("refresh_token"),
        }
    }
}

/// The `jti` of a token.
fn jti(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((claims.get("iss"), claims.get("aud")), (None, None));
    claims["jti"].as_str().unwrap().to_owned()
}
