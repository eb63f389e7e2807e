//! `check` goes through everything that can happen within given bounds; `find` looks for the shortest schedule that breaks
//! something when rules or assumptions are switched off.

use std::process::ExitCode;

use revoxy_model::properties::ALL;
use revoxy_model::rules::Rules;
use revoxy_model::scope::Scope;
use revoxy_model::search::Findings;
use revoxy_model::world::Protocol;

const USAGE: &str = "\
usage: revoxy-model check [--replicas 3] [--keys 2] [--statements 2] [--faults 2] [--only SCENE]
       revoxy-model find  [bounds] [--unversioned] [--without RULE]... [--only SCENE]
scenes: restarts, cutoffs, by-hand, ignoring, evictions, failover, replicas";

struct Options {
    is_check: bool,
    bounds: Scope,
    rules: Rules,
    only: Option<String>,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut holds = true;
    let scenes = options.bounds.scenes(&options.rules);
    for (name, rules, scope) in scenes {
        if options.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        println!("{name}: {scope}");
        let protocol = Protocol::new(rules, scope);
        let findings = match options.is_check {
            true => protocol.search_in_depth(),
            false => protocol.search(ALL),
        };
        report(&findings);
        holds &= findings.counterexample.is_none();
    }
    match holds {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        is_check: match arguments.next()?.as_str() {
            "check" => true,
            "find" => false,
            _ => return None,
        },
        bounds: Scope::large(),
        rules: Rules::versioned(),
        only: None,
    };
    while let Some(argument) = arguments.next() {
        let bounds = &mut options.bounds;
        match argument.as_str() {
            "--replicas" => bounds.replicas = arguments.next()?.parse().ok().filter(|n| *n <= 3)?,
            "--keys" => bounds.keys = arguments.next()?.parse().ok().filter(|n| *n <= 2)?,
            "--statements" => bounds.statements = arguments.next()?.parse().ok()?,
            "--faults" => bounds.faults = arguments.next()?.parse().ok()?,
            "--fine" => bounds.coarse = false,
            "--only" => options.only = arguments.next(),
            "--unversioned" => options.rules = Rules::unversioned(),
            "--without" => options.rules = options.rules.without(&arguments.next()?)?,
            _ => return None,
        }
    }
    Some(options)
}

fn report(findings: &Findings) {
    if let Some(counterexample) = &findings.counterexample {
        print!("{}", counterexample.describe());
    }
    println!(
        "  {} worlds, {} steps, at most {} deep, {:.1?}, {}",
        findings.worlds,
        findings.steps,
        findings.depth,
        findings.time,
        peak_memory()
    );
}

/// The most memory that this process has had.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or("memory unknown".to_owned(), |peak| {
        format!("peak {}", peak.trim())
    })
}
