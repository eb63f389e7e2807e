//! Methods in other letters than they are known by, over HTTP/2 through a real Envoy: no route by method takes one for another.

use jsonwebtoken::Algorithm;

use crate::support::{Config, Envoy, Revoxy, Scratch, SigningKey, Token, Upstream};

/// What is strict by method, with a laxer rest; and the other way round. Envoy names no policy for these paths.
const ROUTES: &str = "routes:
  - { path_prefix: /orders, methods: [POST, DELETE], policy: default }
  - { path_prefix: /orders, policy: public }
  - { path: /cart, methods: [GET], policy: public }";

#[tokio::test]
async fn a_method_in_lower_case_gets_through_envoy_and_no_further() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch).section(ROUTES);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let app = Upstream::start().await;
    let envoy = Envoy::start(&scratch, &revoxy.check, app.address).await;
    let good = Token::access("a").sign(&key);
    // That the routes do what they should, by the known spelling.
    for (method, path, without, with) in [
        ("POST", "/orders", (401, "no_token"), (200, "")),
        ("DELETE", "/orders/1", (401, "no_token"), (200, "")),
        ("GET", "/orders", (200, ""), (200, "")),
        ("GET", "/cart", (200, ""), (200, "")),
        ("POST", "/cart", (401, "no_token"), (200, "")),
    ] {
        for (token, expected) in [(None, without), (Some(&*good), with)] {
            let seen = envoy.call_over_http2(method, path, token).await;
            let verdict = (seen.status, seen.reason());
            assert_eq!(verdict, expected, "{method} {path}");
            assert_eq!(seen.passed(), expected.0 == 200, "{method} {path}");
        }
    }
    let refused =
        "revoxy_checks_total{decision=\"deny\",policy=\"unknown\",reason=\"ambiguous_method\"}";
    let before = revoxy.metric(refused).await;
    let odd = ["post", "Post", "POSt", "delete", "get", "x-POST"];
    let mut asked = 0.0;
    for method in odd {
        for path in ["/orders", "/cart", "/elsewhere"] {
            // With a good token too: who knows which policy would have been meant.
            for token in [None, Some(&*good)] {
                let seen = envoy.call_over_http2(method, path, token).await;
                let verdict = (seen.status, seen.reason());
                assert_eq!(verdict, (403, "ambiguous_method"), "{method} {path}");
                assert!(!seen.passed(), "{method} {path}");
                asked += 1.0;
            }
        }
    }
    // It was Revoxy that refused each of them: Envoy lets them through.
    let counted = revoxy.metric(refused).await - before;
    assert!((counted - asked).abs() < 0.5, "{counted} of {asked}");
}
