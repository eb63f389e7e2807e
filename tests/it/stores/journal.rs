//! The example of a store of one's own: the contract runs over it, and it serves as a program.

#[path = "../../../examples/custom_store.rs"]
#[allow(dead_code, reason = "its main is called by nobody here")]
mod custom_store;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use revoxy::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use revoxy::revocation::StoreError;

use super::contract::{HOUR, find, key, list, revocation};
use super::fixture::{Durable, Fixture, Store};
use crate::support::process::root;
use crate::support::server::run;
use crate::support::{Config, Revoxy, Scratch, SigningKey, Token, eventually};
use custom_store::Journal;

pub struct InJournal {
    clock: Arc<ManualClock>,
    store: Option<Store>,
    scratch: Scratch,
}

impl InJournal {
    fn open(&self) -> Result<Store, StoreError> {
        let clock = Arc::clone(&self.clock) as _;
        let store = Journal::open(&self.scratch.file("journal"), clock)?;
        Ok(Arc::new(store))
    }

    /// What opening it once more gives, when the store is closed. A process that another test starts just then has a copy of each
    /// open file, and with it the lock, until it becomes its program.
    async fn reopen(&mut self) -> Result<Store, StoreError> {
        self.store = None;
        eventually("a journal that nobody has open", async || {
            let opened = self.open();
            (!matches!(opened, Err(StoreError::Unavailable(_)))).then_some(opened)
        })
        .await
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.scratch.file("journal")).unwrap()
    }

    fn add(&self, text: &str) {
        let mut options = std::fs::File::options();
        let mut file = options
            .append(true)
            .open(self.scratch.file("journal"))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

impl Fixture for InJournal {
    async fn start() -> Self {
        let mut fixture = Self {
            clock: Arc::new(ManualClock::at(SystemClock.now())),
            store: None,
            scratch: Scratch::new(),
        };
        fixture.store = Some(fixture.open().unwrap());
        fixture
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass_a_moment(&self) {
        self.clock.advance(self.moment());
    }
}

impl Durable for InJournal {
    async fn restart(&mut self) {
        self.store = Some(self.reopen().await.unwrap());
    }
}

#[tokio::test]
async fn a_line_that_was_never_finished_is_not_read_and_overwritten() {
    let mut f = InJournal::start().await;
    let entry = |value| revocation(key(value), Timestamp::NEVER);
    f.store().revoke(&entry("first")).await.unwrap();
    let whole = f.text();
    f.add(&whole[..whole.len() - 1].replace("first", "torn"));
    f.restart().await;
    assert_eq!(list(&f.store(), 10).await.len(), 1);
    f.store().revoke(&entry("second")).await.unwrap();
    f.restart().await;
    assert_eq!(list(&f.store(), 10).await.len(), 2);
    assert_eq!(find(&f.store(), &key("torn")).await, None);
}

#[tokio::test]
async fn a_line_that_cannot_be_read_is_not_passed_over() {
    for line in [
        "\n",
        "{}\n",
        "{\"key\":\"other\",\"revoked\":null}\n",
        "\u{fffd}\n",
    ] {
        let mut f = InJournal::start().await;
        f.add(line);
        let opened = f.reopen().await;
        assert!(matches!(opened, Err(StoreError::Failed(_))), "{line:?}");
        assert_eq!(f.text(), line);
    }
}

#[tokio::test]
async fn a_journal_that_is_open_elsewhere_is_refused() {
    let f = InJournal::start().await;
    assert!(matches!(f.open(), Err(StoreError::Unavailable(_))));
    // Also when sweeping has put a new file in the place of the old.
    let soon = f.now().plus(f.moment());
    f.store().revoke(&revocation(key("a"), soon)).await.unwrap();
    f.pass_a_moment().await;
    assert_eq!(f.store().prune(f.now()).await, Ok(1));
    assert_eq!(f.text(), "");
    assert!(matches!(f.open(), Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn what_was_swept_and_written_anew_outlives_a_restart() {
    let mut f = InJournal::start().await;
    let soon = f.now().plus(f.moment());
    for (value, expires_at) in [("short", soon), ("long", f.now().plus(HOUR))] {
        let entry = revocation(key(value), expires_at);
        f.store().revoke(&entry).await.unwrap();
    }
    f.pass_a_moment().await;
    assert_eq!(f.store().prune(f.now()).await, Ok(1));
    let after = revocation(key("after"), f.now().plus(HOUR));
    f.store().revoke(&after).await.unwrap();
    f.restart().await;
    assert_eq!(f.text().lines().count(), 2);
    assert_eq!(list(&f.store(), 10).await.len(), 2);
}

/// The example as a program of its own. Cargo tells a test where a binary is, but not an example.
fn example(name: &str) -> Command {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--example", name]);
    build.args(["--target-dir".as_ref(), target()]);
    assert!(build.current_dir(root()).status().unwrap().success());
    Command::new(target().join("debug/examples").join(name))
}

fn target() -> &'static Path {
    let binary = Path::new(env!("CARGO_BIN_EXE_revoxy"));
    binary.parent().and_then(Path::parent).unwrap()
}

#[tokio::test]
async fn the_example_does_not_serve_what_it_cannot() {
    let (scratch, signer) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let mut config =
        Config::trusting(&signer, &scratch).revocation("lookups: [{ preset: flask-jwt-extended }]");
    config.store = "redis: { url: redis://127.0.0.1:1/0 }".to_owned();
    let mut program = example("custom_store");
    program
        .arg(scratch.write("revoxy.yaml", config.yaml()))
        .arg(scratch.file("journal"));
    let (status, said) = run(&scratch, &mut program).await;
    assert!(!status.success());
    let problem =
        "revocation.lookups: the revocation store refused or answered wrongly: this store";
    assert!(said.contains(problem), "{said}");
}

#[tokio::test]
async fn the_example_serves_and_remembers() {
    let (scratch, signer) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let mut config = Config::trusting(&signer, &scratch);
    // Not opened, and not made either.
    config.store = "sqlite: { path: /nonexistent/revoxy.db }".to_owned();
    let mut program = example("custom_store");
    program
        .arg(scratch.write("revoxy.yaml", config.yaml()))
        .arg(scratch.file("journal"));
    let (good, bad) = (Token::access("good"), Token::access("bad"));
    let (good, bad) = (good.sign(&signer), bad.sign(&signer));
    let mut revoxy = Revoxy::start_as(&mut program, &scratch).await;
    let checks = revoxy.checks().await;
    assert!(checks.bearer(&bad).await.allows());
    revoxy.revoke(&bad).await;
    assert_eq!(checks.bearer(&bad).await.verdict(), (401, "revoked"));
    revoxy.process.kill();
    let revoxy = Revoxy::start_as(&mut program, &scratch).await;
    let checks = revoxy.checks().await;
    assert_eq!(checks.bearer(&bad).await.verdict(), (401, "revoked"));
    assert!(checks.bearer(&good).await.allows());
    let entries = revoxy.metric("revoxy_revocation_view_entries").await;
    assert!((entries - 1.0).abs() < 0.1, "{entries}");
}
