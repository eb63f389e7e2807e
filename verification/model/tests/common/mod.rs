//! What the tests have in common.
#![allow(dead_code)]

use revoxy_model::rules::Rules;
use revoxy_model::scope::Scope;
use revoxy_model::search::Counterexample;
use revoxy_model::world::{Action, Protocol};

/// The shortest schedule that breaks one of these properties, if there is one.
pub fn search(rules: Rules, scope: Scope, properties: &[&'static str]) -> Option<Counterexample> {
    let findings = Protocol::new(rules, scope).search(properties);
    println!("{} worlds in {:.1?}", findings.worlds, findings.time);
    findings.counterexample
}

/// Finds a schedule that breaks one of these properties, prints it, and goes through it once more.
pub fn finds(rules: Rules, scope: Scope, properties: &[&'static str]) -> Counterexample {
    let found = search(rules.clone(), scope.clone(), properties).expect("a counterexample");
    println!("{}", found.describe());
    assert!(replays(rules, scope, &found.actions).contains(&found.property));
    found
}

/// Goes through a schedule. Tells what is broken at its end.
pub fn replays(rules: Rules, scope: Scope, actions: &[Action]) -> Vec<&'static str> {
    let protocol = Protocol::new(rules, scope);
    protocol
        .replay(actions)
        .unwrap_or_else(|action| panic!("{action:?} is not possible"))
}

/// Everything that can happen is right.
pub fn holds(rules: Rules, scope: Scope) {
    let findings = Protocol::new(rules, scope.clone()).search_in_depth();
    println!(
        "{scope}: {} worlds in {:.1?}",
        findings.worlds, findings.time
    );
    if let Some(found) = findings.counterexample {
        panic!("{}", found.describe());
    }
}
