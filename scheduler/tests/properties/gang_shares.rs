//! What gang scheduling promises of weights.
//!
//! It promises nothing before it knows how wide its VMs are, so that the promise is asked for when they
//! are there, and hosts and VMs are drawn so that there is one: all VMs have one width, of which the
//! number of CPUs is a multiple.

use std::fmt::Write as _;

use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::record::Keep;
use muster_scheduler::{Actuator, Claims, Engine, Nanos, PolicySpec, Switch, VmId};

use crate::checks::fairness;
use crate::draw::Draw;
use crate::facts::Facts;
use crate::simulated;
use crate::timeline::Timeline;

/// Its own draws, not those of other suites.
const SALT: u64 = 0x6761_6e67;

/// Nothing needs to be carried out to know what is promised.
struct Nobody;

impl Actuator for Nobody {
    fn switch(&mut self, _now: Nanos, _switches: &[Switch]) {}

    fn advise(&mut self, _now: Nanos, _vm: VmId, _cpus: u32) {}
}

/// Runs a seed's scenario and checks the promise. Gives the number of shares that were looked at.
pub fn check(seed: u64) -> Result<u64, String> {
    let mut draw = Draw::new(seed ^ SALT);
    let shares = draw.pick(&["slots", "time"]);
    let policy = format!("gang:quantum={}us,shares={shares}", draw.between(500, 2000));
    let policy: PolicySpec = policy.parse().expect("a policy that exists");
    let (width, together) = (draw.between(1, 4), draw.between(1, 3));
    let vms = draw.between(2, 5);
    let weights: Vec<u64> = (0..vms).map(|_| draw.between(100, 400)).collect();
    let text = |duration: Nanos| scenario(width, together, &weights, duration);
    let scenario = Scenario::parse(&text(1)).map_err(|error| error.to_string())?;
    let claims = claims_with_vms(&scenario, &policy);
    let window = claims.fair_within_ns.ok_or("nothing is promised")?;
    let text = text(window * 3 / 2);
    let scenario = Scenario::parse(&text).map_err(|error| error.to_string())?;
    let recording = simulated::run(&scenario, &policy, seed, Keep::Spans)?;
    let mut facts = Facts::new(&scenario, &policy, &recording);
    facts.reigns[0].claims = claims;
    fairness::check(&Timeline::new(&recording), &facts)
        .map_err(|broken| format!("{broken}\npolicy: {policy}\n{text}"))
}

fn scenario(width: u64, together: u64, weights: &[u64], duration: Nanos) -> String {
    let cpus = width * together;
    let mut text = format!(
        "name = \"gang shares\"\nduration = \"{duration}ns\"\nhost.topology = \"{cpus}\"\n"
    );
    for (number, weight) in weights.iter().enumerate() {
        let _ = write!(
            text,
            "[[vm]]\nname = \"vm{number}\"\nvcpus = {width}\nweight = {weight}\n\
             workload = {{ kind = \"compute\" }}\n"
        );
    }
    text
}

/// What the policy promises once all VMs are there.
fn claims_with_vms(scenario: &Scenario, policy: &PolicySpec) -> Claims {
    let made = policy.build(&scenario.topology);
    let mut engine = Engine::new(scenario.topology.clone(), made);
    for group in &scenario.vms {
        let arrived = engine.arrive(0, group.spec.clone(), |_| false, &mut Nobody);
        arrived.expect("a plain VM is taken");
    }
    engine.policy().claims()
}
