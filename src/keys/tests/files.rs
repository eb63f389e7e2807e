//! Tests of key files that change while the service is running.

use super::*;
use crate::jwt::{KeyDemand, KeyFile, Rejection, Unrevocable};
use crate::keys::watch_file;

const EVERY: Duration = Duration::from_millis(20);

struct Watched {
    verifier: Verifier,
    metrics: Metrics,
    _task: JoinSet<()>,
}

fn watch(path: &std::path::Path) -> Watched {
    watch_every(path, EVERY)
}

fn watch_every(path: &std::path::Path, every: Duration) -> Watched {
    crate::jwt::install_crypto().unwrap();
    let file = KeyFile::Jwks(path.to_owned());
    let profile = testing::profile();
    let (keys, _) = file.load(&profile.algorithms).unwrap();
    let demand = KeyDemand::new(Duration::ZERO, Duration::ZERO);
    let issuer = Arc::new(Issuer::new(profile, keys).watched(demand));
    let labels = CheckLabels {
        outcomes: &[],
        policies: &[],
    };
    let metrics = Metrics::new(&labels, &[]).unwrap();
    let clock = Arc::new(ManualClock::at(testing::now()));
    let of_issuer = metrics.issuer_keys("shop", &["invalid"]);
    let mut task = JoinSet::new();
    task.spawn(watch_file(
        "shop".to_owned(),
        Arc::clone(&issuer),
        file,
        every,
        clock,
        of_issuer,
    ));
    Watched {
        verifier: Verifier::new([issuer]),
        metrics,
        _task: task,
    }
}

impl Watched {
    fn accepts(&self, token: &str) -> bool {
        self.verifier.verify(token, testing::now()).is_ok()
    }

    fn failures(&self) -> u64 {
        let text = self.metrics.render().unwrap();
        let name = "revoxy_jwks_refreshes_total{issuer=\"shop\",result=\"invalid\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_file_written_anew_brings_its_keys_and_a_broken_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let (old, new) = (Signer::p256(), Signer::p256());
    std::fs::write(&path, jwks(&[(&old, "old")])).unwrap();
    let watched = watch(&path);
    assert!(watched.accepts(&token(&old, "old")));
    std::fs::write(&path, "{").unwrap();
    eventually(|| watched.failures() > 0).await;
    assert!(watched.accepts(&token(&old, "old")));
    std::fs::remove_file(&path).unwrap();
    // The first failure may still be about the broken content.
    let before = watched.failures();
    eventually(|| watched.failures() > before + 1).await;
    assert!(watched.accepts(&token(&old, "old")));
    std::fs::write(&path, jwks(&[(&new, "new")])).unwrap();
    eventually(|| watched.accepts(&token(&new, "new"))).await;
    assert!(!watched.accepts(&token(&old, "old")));
}

/// The file of a ConfigMap is a link to `..data/file`, and `..data` a link to a directory. Kubernetes
/// replaces the latter link.
#[tokio::test]
async fn kubernetes_swapping_a_link_two_levels_up_brings_the_new_keys() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (old, new) = (Signer::p256(), Signer::p256());
    for (name, key, kid) in [("..1", &old, "old"), ("..2", &new, "new")] {
        std::fs::create_dir(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("jwks.json"), jwks(&[(key, kid)])).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/jwks.json", root.join("jwks.json")).unwrap();
    let watched = watch(&root.join("jwks.json"));
    assert!(watched.accepts(&token(&old, "old")));
    symlink("..2", root.join("..data_tmp")).unwrap();
    std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    eventually(|| watched.accepts(&token(&new, "new"))).await;
    assert!(!watched.accepts(&token(&old, "old")));
}

/// Verifies possession of a token, which does not wait for the next poll of the key file.
async fn possession(watched: &Watched, token: &str) -> Result<(), Unrevocable> {
    let patience = Duration::from_secs(10);
    let proven = watched
        .verifier
        .verify_possession(token, testing::now(), patience);
    proven.await.map(|_| ())
}

#[tokio::test]
async fn whoever_has_to_know_at_once_has_the_file_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let (old, new) = (Signer::p256(), Signer::p256());
    // With and without `kid`: without it, the old key is selected for the token.
    for kid in [Some("k"), None] {
        let set = |key: &Signer, kid: Option<&str>| json!({ "keys": [key.jwk(kid)] }).to_string();
        std::fs::write(&path, set(&old, kid.map(|_| "old"))).unwrap();
        let watched = watch_every(&path, Duration::from_secs(3600));
        let token = token(&new, "new");
        // The first read happens by itself.
        eventually(|| watched.accepts(&self::token(&old, "old"))).await;
        let stranger = possession(&watched, &token).await;
        let unknown = match kid {
            Some(_) => Unrevocable::Unknown,
            None => Unrevocable::Invalid(Rejection::BadSignature),
        };
        assert_eq!(stranger, Err(unknown), "{kid:?}");
        std::fs::write(&path, set(&new, kid.map(|_| "new"))).unwrap();
        assert!(!watched.accepts(&token), "{kid:?}");
        assert_eq!(possession(&watched, &token).await, Ok(()), "{kid:?}");
        // With a `kid`, another replica may still have the old key.
        let old = possession(&watched, &self::token(&old, "old")).await;
        assert_eq!(old, Err(unknown), "{kid:?}");
    }
}
