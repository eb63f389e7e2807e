//! What the benchmarks share: rounds, medians, and what the kernel says of a process.
//!
//! They print, and assert no time: a figure is worth something only beside another of the same run.

use std::time::Duration;

/// The middle one of some measurements, the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: quantile(&values, 0.5),
            least: values[0],
            greatest: values[values.len() - 1],
        }
    }

    /// All three, with so many decimals.
    pub fn show(self, decimals: usize) -> String {
        let Self {
            median,
            least,
            greatest,
        } = self;
        format!("{median:.decimals$} ({least:.decimals$}–{greatest:.decimals$})")
    }
}

/// The value below which the share `q` of the sorted values lies.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list"
)]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// A number from the environment, so that a run can be made shorter or longer.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Whether the part of this name is to be run: those named on the command line, or all of `parts` where none is.
pub fn is_chosen(name: &str, parts: &[&str]) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|a| parts.contains(&a.as_str()));
    match named.next() {
        None => true,
        Some(first) => first == name || named.any(|a| a == name),
    }
}

/// The time that all threads of a process have spent on a core.
pub fn cpu_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// The memory of a process that is in RAM, in bytes.
pub fn resident(pid: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        * 1024
}

/// Gives a process, with all its threads, one core.
pub fn pin(pid: u32, core: &str) {
    let mut taskset = std::process::Command::new("taskset");
    taskset.args(["-a", "-c", "-p", core, &pid.to_string()]);
    let output = taskset.output().unwrap();
    assert!(output.status.success(), "taskset: {output:?}");
}

/// The process of a Redis server, by what it says to `INFO server`.
pub fn pid_in(info: &str) -> u32 {
    let pid = info.lines().find_map(|l| l.strip_prefix("process_id:"));
    pid.unwrap().trim().parse().unwrap()
}

/// Revokes so many tokens in a Redis server.
pub fn fill(url: &str, entries: usize) {
    let numbers: Vec<_> = (0..entries).collect();
    // As long as a UUID.
    fill_with(url, &numbers, |n| {
        format!("revoxy:jti:shop:{n:08}-5a61-4f3e-9d0f-2f6c1f0b8a11")
    });
}

/// Revokes so many tokens in a cluster of three primaries, each with a third of the slots, in order.
pub fn fill_cluster(urls: &[String], entries: usize, slot_of: impl Fn(&str) -> u16) {
    const TAGS: usize = 1000;
    let tags = (0..TAGS).map(|tag| usize::from(slot_of(&format!("{{{tag:08}}}"))));
    let owners: Vec<_> = tags.map(|slot| slot * urls.len() / 16384).collect();
    for url in urls {
        // As in production: the tests' servers wait for the disk with each write, and are soon taken for dead.
        let mut connection = redis::Client::open(url.as_str())
            .unwrap()
            .get_connection()
            .unwrap();
        for (name, value) in [("appendonly", "no"), ("cluster-node-timeout", "15000")] {
            let mut set = redis::cmd("CONFIG");
            set.arg("SET").arg(name).arg(value);
            set.query::<()>(&mut connection).unwrap();
        }
    }
    for (node, url) in urls.iter().enumerate() {
        let own = (0..entries).filter(|n| owners[n % TAGS] == node);
        fill_with(url, &own.collect::<Vec<_>>(), |n| {
            format!(
                "revoxy:jti:shop:{{{:08}}}{n:08}-4f3e-9d0f-2f6c1f0b8",
                n % TAGS
            )
        });
    }
}

fn fill_with(url: &str, numbers: &[usize], key: impl Fn(usize) -> String) {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    for batch in numbers.chunks(10_000) {
        let mut pipe = redis::pipe();
        for n in batch {
            revoke(&mut pipe, &key(*n));
        }
        pipe.query::<()>(&mut connection).unwrap();
    }
}

/// Adds a revocation, for a day.
pub fn revoke(pipe: &mut redis::Pipeline, key: &str) {
    pipe.set_ex(key, "{}", 86_400).ignore();
}
