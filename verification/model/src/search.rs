//! Searches: all that can happen within a scope, or the first schedule that breaks a property.

use std::fmt::Write;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::properties::ALL;
use crate::rules::Rules;
use crate::scope::Scope;
use crate::world::{Action, Protocol, World};

/// A schedule at whose end a property does not hold.
#[derive(Clone, Debug)]
pub struct Counterexample {
    pub property: &'static str,
    pub actions: Vec<Action>,
}

/// What a search has found.
#[derive(Debug)]
pub struct Findings {
    pub counterexample: Option<Counterexample>,
    /// Worlds that differ in more than the names of replicas and keys.
    pub worlds: usize,
    pub steps: usize,
    pub depth: usize,
    pub time: Duration,
}

impl Protocol {
    pub fn new(rules: Rules, scope: Scope) -> Self {
        Self { rules, scope }
    }

    /// Breadth first: a counterexample is one of the shortest. Other properties than these may be broken before.
    pub fn search(self, properties: &[&'static str]) -> Findings {
        let started = Instant::now();
        let wanted = HasDiscoveries::AnyOf(properties.iter().copied().collect());
        let checker = self.checker().finish_when(wanted).spawn_bfs().join();
        found(&checker, properties, started)
    }

    /// Depth first: takes much less memory, for what is expected to hold.
    pub fn search_in_depth(self) -> Findings {
        let started = Instant::now();
        let builder = self.checker().finish_when(HasDiscoveries::AnyFailures);
        found(&builder.spawn_dfs().join(), ALL, started)
    }

    /// Goes through a schedule. Tells the properties that do not hold at its end, or the first action that is not possible.
    pub fn replay(&self, actions: &[Action]) -> Result<Vec<&'static str>, Action> {
        let mut world = self.init_states().remove(0);
        for action in actions {
            let mut possible = Vec::new();
            self.actions(&world, &mut possible);
            if !possible.contains(action) {
                return Err(action.clone());
            }
            world.take(action.clone(), self);
        }
        let broken = self.properties().into_iter();
        let broken = broken.filter(|property| !(property.condition)(self, &world));
        Ok(broken.map(|property| property.name).collect())
    }
}

fn found(
    checker: &impl Checker<Protocol>,
    properties: &[&'static str],
    started: Instant,
) -> Findings {
    let discoveries = checker.discoveries().into_iter();
    let discoveries = discoveries.filter(|(property, _)| properties.contains(property));
    let counterexamples = discoveries.map(|(property, path)| Counterexample {
        property,
        actions: Path::<World, Action>::into_actions(path),
    });
    // Where several are found, always the same one is told.
    let first = counterexamples.min_by_key(|found| (found.actions.len(), found.property));
    Findings {
        counterexample: first,
        worlds: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time: started.elapsed(),
    }
}

impl Counterexample {
    pub fn describe(&self) -> String {
        let mut text = format!("broken: {}\n", self.property);
        for (index, action) in self.actions.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:>3}. {action:?}", index + 1);
        }
        text
    }
}
