//! A store that others write too, made of nothing but what the library gives to everybody: its view follows a feed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use revoxy::clock::{Clock as _, Moment, SystemClock, Timestamp};
use revoxy::revocation::{Cutoff, Revocation, RevocationKey, View};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::contract::{key, revocation};
use crate::support::eventually;

#[derive(Clone)]
enum Change {
    Stands(Revocation),
    Gone(RevocationKey),
    Pong,
}

/// What others write to: it tells whoever listens of every change, in order.
#[derive(Default)]
struct Server(Mutex<State>);

#[derive(Default)]
struct State {
    standing: BTreeMap<String, Revocation>,
    listener: Option<UnboundedSender<Change>>,
}

impl Server {
    fn change(&self, change: Change) {
        let mut state = self.0.lock().unwrap();
        match &change {
            Change::Stands(entry) => {
                let key = entry.key.rendered().to_owned();
                state.standing.insert(key, entry.clone());
            }
            Change::Gone(key) => {
                state.standing.remove(key.rendered());
            }
            Change::Pong => {}
        }
        if let Some(listener) = &state.listener {
            let _ = listener.send(change);
        }
    }

    fn listen(&self) -> UnboundedReceiver<Change> {
        let (sender, receiver) = unbounded_channel();
        self.0.lock().unwrap().listener = Some(sender);
        receiver
    }

    fn standing(&self) -> Vec<Revocation> {
        self.0.lock().unwrap().standing.values().cloned().collect()
    }

    /// The connection of whoever listens breaks.
    fn cut_off(&self) {
        self.0.lock().unwrap().listener = None;
    }
}

async fn follow(server: &Server, view: &View) -> Option<()> {
    let mut changes = server.listen();
    view.begin_round();
    for entry in server.standing() {
        view.record(&entry);
    }
    view.forget_unseen();
    loop {
        let asked_at = Moment::now();
        server.change(Change::Pong);
        loop {
            match changes.recv().await? {
                Change::Stands(entry) => view.record(&entry),
                Change::Gone(key) => {
                    view.forget(&key);
                }
                Change::Pong => break,
            }
        }
        view.set_fresh_as_of(asked_at);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn connect(server: &Arc<Server>, view: &Arc<View>) -> JoinHandle<Option<()>> {
    let (server, view) = (Arc::clone(server), Arc::clone(view));
    tokio::spawn(async move { follow(&server, &view).await })
}

fn found(view: &View, value: &str) -> Option<Cutoff> {
    view.lookup(&key(value), SystemClock.now())
}

/// Waits until the view is known to have everything that was acknowledged before now.
async fn catches_up(view: &View) {
    let now = Instant::now();
    eventually("a view that is young enough", async || {
        let age = view.age(Moment::now())?;
        (age < now.elapsed()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_view_of_ones_own_follows_what_others_write() {
    let (server, view) = (Arc::new(Server::default()), Arc::new(View::default()));
    let stands = |value: &str| Change::Stands(revocation(key(value), Timestamp::NEVER));
    server.change(stands("before"));
    assert_eq!(view.age(Moment::now()), None);
    let feed = connect(&server, &view);
    catches_up(&view).await;
    assert_eq!(found(&view, "before"), Some(Cutoff::All));

    server.change(stands("meanwhile"));
    server.change(Change::Gone(key("before")));
    catches_up(&view).await;
    assert_eq!(found(&view, "meanwhile"), Some(Cutoff::All));
    assert_eq!(found(&view, "before"), None);

    // Cut off, it keeps what it holds, and ages.
    server.cut_off();
    assert_eq!(feed.await.unwrap(), None);
    let age = view.age(Moment::now()).unwrap();
    server.change(Change::Gone(key("meanwhile")));
    server.change(stands("unheard"));
    eventually("an older view", async || {
        (view.age(Moment::now()).unwrap() > age + Duration::from_millis(20)).then_some(())
    })
    .await;
    assert_eq!(found(&view, "meanwhile"), Some(Cutoff::All));
    assert_eq!(found(&view, "unheard"), None);

    let feed = connect(&server, &view);
    catches_up(&view).await;
    assert_eq!(found(&view, "meanwhile"), None);
    assert_eq!(found(&view, "unheard"), Some(Cutoff::All));
    assert_eq!(view.len(), 1);
    feed.abort();
}
