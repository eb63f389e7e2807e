//! A machine with a server on it: the server's loop, and what can be done to it from outside.
//!
//! The loop is that of Redis: it reads from whoever has sent something, carries out what is there, then tells tracking
//! connections what has changed, and only then sends any answer. So a push is queued before the writer is answered.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::{Door, Net};
use crate::rng::Rng;
use crate::world::Wall;

use super::client::{Around, Client};
use super::commands;
use super::node::Node;
use super::process::{Data, Process, Role, Touch};

/// For how long at most a key that has ended stays there.
const LATE_EXPIRY: u64 = 100;
/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// A machine.
#[derive(Clone)]
pub struct Machine {
    /// Its name on the network.
    pub name: String,
    state: Arc<Mutex<State>>,
}

struct State {
    door: Arc<Door>,
    wall: Wall,
    rng: Rng,
    process: Option<Process>,
    clients: Vec<Client>,
    next_client: u64,
    /// The process is stopped (SIGSTOP): it is connected to, and does not answer.
    paused: bool,
    /// The last snapshot that was written to disk.
    snapshot: Data,
    /// What the process that ended knew of its cluster.
    config: Option<Node>,
    /// Up to where each replica has everything, by its name.
    replicas: Vec<(String, u64)>,
    waker: Option<Waker>,
    alarm: Option<Pin<Box<Sleep>>>,
    chunk: Box<[u8]>,
}

impl Machine {
    /// A machine without a server. Its loop runs as a task of the present runtime.
    pub fn new(name: &str, net: &Net, wall: Wall, rng: Rng) -> Self {
        let machine = Self {
            name: name.to_owned(),
            state: Arc::new(Mutex::new(State {
                door: net.door(name),
                wall,
                rng,
                process: None,
                clients: Vec::new(),
                next_client: 1,
                paused: false,
                snapshot: Data::default(),
                config: None,
                replicas: Vec::new(),
                waker: None,
                alarm: None,
                chunk: vec![0; CHUNK].into(),
            })),
        };
        let state = Arc::clone(&machine.state);
        tokio::spawn(std::future::poll_fn(move |cx| {
            lock(&state).turn(cx);
            Poll::<()>::Pending
        }));
        machine
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Starts a server with this data, which takes `loading` to be read.
    pub fn start(&self, data: Data, loading: Duration, change: impl FnOnce(&mut Process)) {
        let mut state = self.lock();
        let now = state.wall.millis();
        let rng = state.rng.fork();
        let mut process = Process::started(data, now, rng);
        process.loads_until = now + i64::try_from(loading.as_millis()).unwrap_or_default();
        process.cluster = state.config.take().map(|node| node.restarted(now));
        if let Some(node) = &process.cluster
            && let Some(of) = node.peers[node.me].replicates
        {
            process.role = Role::ReplicaOf(node.peers[of].machine.clone());
        }
        change(&mut process);
        state.process = Some(process);
        state.paused = false;
        state.door.set_open(true);
        state.wake();
    }

    /// Kills the server, and returns what it held. Its clients are told, or hear nothing where `silently`.
    pub fn kill(&self, silently: bool) -> Data {
        let mut state = self.lock();
        state.door.set_open(false);
        state.paused = false;
        state.replicas.clear();
        for client in state.clients.drain(..) {
            if silently {
                client.socket.vanish();
            }
        }
        let Some(process) = state.process.take() else {
            return Data::default();
        };
        state.config = process.cluster;
        process.data
    }

    /// Stops the process, or lets it go on.
    pub fn pause(&self, paused: bool) {
        let mut state = self.lock();
        state.paused = paused;
        state.wake();
    }

    /// Whether there is a server, going on or not.
    pub fn has_process(&self) -> bool {
        self.lock().process.is_some()
    }

    /// Whether there is a server, and it goes on.
    pub fn is_running(&self) -> bool {
        let state = self.lock();
        state.process.is_some() && !state.paused
    }

    /// Writes a snapshot to disk.
    pub fn save(&self) {
        let mut state = self.lock();
        if let Some(process) = &state.process {
            state.snapshot = process.data.clone();
        }
    }

    /// The last snapshot.
    pub fn snapshot(&self) -> Data {
        self.lock().snapshot.clone()
    }

    /// Looks at the process, or changes it, in one step. Whoever tracks is told of what that changes.
    pub fn with<T>(&self, change: impl FnOnce(&mut Process, i64) -> T) -> Option<T> {
        let mut state = self.lock();
        let now = state.wall.millis();
        let result = state.process.as_mut().map(|process| change(process, now));
        state.hear();
        state.flush();
        state.wake();
        result
    }

    /// Breaks every connection, as `CLIENT KILL` does.
    pub fn disconnect(&self) {
        self.lock().clients.clear();
    }

    /// Notes up to where a replica has everything.
    pub fn acknowledge(&self, replica: &str, offset: u64) {
        let mut state = self.lock();
        match state.replicas.iter_mut().find(|(name, _)| name == replica) {
            Some((_, known)) => *known = offset,
            None => state.replicas.push((replica.to_owned(), offset)),
        }
        state.wake();
    }

    /// A replica is gone.
    pub fn forget(&self, replica: &str) {
        self.lock().replicas.retain(|(name, _)| name != replica);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// One turn of the loop, and more while there is something to do.
    fn turn(&mut self, cx: &mut Context<'_>) {
        self.waker = Some(cx.waker().clone());
        if self.paused || self.process.is_none() {
            return;
        }
        let arrived = self.door.accept(cx.waker());
        for socket in arrived {
            self.clients.push(Client::new(self.next_client, socket));
            self.next_client += 1;
        }
        while self.serve(cx) {}
        self.look_at_the_clock(cx);
    }

    /// Reads from everybody and carries out what is there. Tells whether there was anything.
    fn serve(&mut self, cx: &mut Context<'_>) -> bool {
        let count = self.clients.len();
        let first = self.rng.below(count as u64) as usize;
        let (mut served, mut gone) = (false, Vec::new());
        for at in (first..count).chain(0..first) {
            // What was sent behind a `WAIT` that is over.
            if !self.carry_out(at) {
                gone.push(self.clients[at].id);
                continue;
            }
            loop {
                let client = &mut self.clients[at];
                if client.waits.is_some() {
                    break;
                }
                match client.socket.try_read(&mut self.chunk, cx) {
                    Poll::Pending => break,
                    Poll::Ready(0) => {
                        gone.push(client.id);
                        break;
                    }
                    Poll::Ready(read) => {
                        client.buffer.push(&self.chunk[..read]);
                        served = true;
                        if !self.carry_out(at) {
                            gone.push(self.clients[at].id);
                            break;
                        }
                    }
                }
            }
        }
        self.clients.retain(|client| !gone.contains(&client.id));
        self.flush();
        served
    }

    /// Carries out what a client has sent. `false` where that is no command.
    fn carry_out(&mut self, at: usize) -> bool {
        let now = self.wall.millis();
        while self.clients[at].waits.is_none() {
            let client = &mut self.clients[at];
            let command = match client.held_up.take() {
                Some(command) => command,
                None => match client.buffer.command() {
                    Ok(Some(command)) => command,
                    Ok(None) => break,
                    Err(_) => return false,
                },
            };
            let Some(process) = &mut self.process else {
                return false;
            };
            if process.holds_up_writes() && commands::may_write(&command) {
                client.held_up = Some(command);
                break;
            }
            process.make_room();
            let mut around = Around {
                process,
                now,
                replicas: self.replicas.iter().map(|(_, has)| *has).collect(),
            };
            self.clients[at].answer(&command, &mut around);
            self.hear();
        }
        true
    }

    /// Notes for each client what has changed.
    fn hear(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let touched: Vec<Touch> = std::mem::take(&mut process.touched);
        for touch in &touched {
            for client in &mut self.clients {
                client.hear(touch);
            }
        }
    }

    /// Tells what has changed, and then answers.
    fn flush(&mut self) {
        for client in &mut self.clients {
            client.tell();
        }
        for client in &mut self.clients {
            let out = std::mem::take(&mut client.out);
            client.socket.send(&out);
        }
    }

    /// Does what is due by the clock, and sets an alarm for what comes next.
    fn look_at_the_clock(&mut self, cx: &mut Context<'_>) {
        let now = self.wall.millis();
        let replicas: Vec<u64> = self.replicas.iter().map(|(_, has)| *has).collect();
        let (mut next, mut waited) = (None::<Instant>, false);
        for client in &mut self.clients {
            client.end_wait(&replicas);
            waited |= !client.out.is_empty();
            let until = client.waits.as_ref().and_then(|wait| wait.until);
            next = [next, until].into_iter().flatten().min();
        }
        let rung = match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(cx).is_ready(),
            None => false,
        };
        let Some(process) = &mut self.process else {
            return;
        };
        if rung {
            self.alarm = None;
            process.expire(now);
            self.hear();
        }
        if rung || waited {
            self.flush();
            // What was sent behind a `WAIT` is due now.
            cx.waker().wake_by_ref();
        }
        let ends = self.process.as_ref().and_then(|p| {
            p.data
                .0
                .iter()
                .filter_map(super::keyspace::Keyspace::next_end)
                .min()
        });
        if let Some(ends) = ends {
            let left = u64::try_from(ends - now).unwrap_or_default();
            let due = Instant::now() + Duration::from_millis(left);
            let latest = due + Duration::from_millis(LATE_EXPIRY);
            let set = self.alarm.as_ref().map(|alarm| alarm.deadline());
            if set.is_none_or(|set| set > latest) {
                let at = due + Duration::from_millis(self.rng.between(1, LATE_EXPIRY));
                next = [next, Some(at)].into_iter().flatten().min();
            }
        }
        if let Some(at) = next {
            let mut alarm = Box::pin(sleep_until(at));
            if alarm.as_mut().poll(cx).is_pending() {
                self.alarm = Some(alarm);
            } else {
                cx.waker().wake_by_ref();
            }
        }
    }
}
