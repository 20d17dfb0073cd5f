//! What chassis managers and BMCs say to chassis-agent: answers of a command
//! line, a whole Redfish service as one JSON object of paths, and the summary of
//! an old web interface. The first octet says which.

#![no_main]

use std::sync::{Arc, LazyLock};

use boot_proto::hardware_profile::{CliRules, HardwareProfile};
use chassis_agent::drivers::DriverError;
use chassis_agent::drivers::moonshot::parse::{
    clean, ending, parse_facts, parse_list, parse_macs, parse_power, prompt_of,
};
use chassis_agent::drivers::redfish::fetch::{Fetch, FetchError, Fetched};
use chassis_agent::drivers::redfish::lenient;
use chassis_agent::drivers::redfish::recognise::recognise;
use chassis_agent::drivers::redfish::walk::{Walk, service_root};
use chassis_agent::profiles::Profiles;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Requests that one look at a BMC may take, whatever it says.
const MOST_REQUESTS: usize = 20_000;
const LARGEST_BODY: usize = 1 << 20;

static PROFILES: LazyLock<Vec<Arc<HardwareProfile>>> = LazyLock::new(|| {
    let profiles = Profiles::built_in().expect("the profiles are right");
    profiles.all().cloned().collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, input)) = data.split_first() else {
        return;
    };
    match kind % 3 {
        0 => PROFILES
            .iter()
            .filter_map(|profile| profile.cli.as_ref())
            .for_each(|rules| command_line(input, rules)),
        1 => redfish(input),
        _ => packed(input),
    }
});

fn command_line(raw: &[u8], rules: &CliRules) {
    let _ = (ending(raw, None, rules), prompt_of(raw, rules));
    let answer = clean(raw, "show node list", rules);
    let nodes = parse_list(&answer, rules).unwrap_or_default();
    let macs = parse_macs(&answer, rules).unwrap_or_default();
    let present: Vec<_> = macs.keys().copied().collect();
    let most = usize::try_from(rules.limits.nodes).unwrap_or(usize::MAX);
    let states = parse_power(&answer, present.first().copied(), rules);
    assert!(nodes.len() <= most && macs.len() <= most && states.len() <= most);
    let _ = parse_facts(&answer, present.first().copied(), &present, rules);
}

/// A service that answers from an object of paths.
struct Service {
    resources: Value,
    requests: usize,
}

impl Fetch for Service {
    fn get<'a>(&'a mut self, path: &'a str) -> Fetched<'a> {
        self.requests += 1;
        assert!(self.requests < MOST_REQUESTS, "a look that does not end");
        let found = self.resources.get(path).cloned();
        let absent = || FetchError::Absent(DriverError::Profile(path.to_owned()));
        Box::pin(async move { found.ok_or_else(absent) })
    }
}

fn redfish(input: &[u8]) {
    let (resources, _) = lenient::read(input);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    let mut service = Service {
        resources,
        requests: 0,
    };
    runtime.block_on(async {
        let Ok(root) = service_root(&mut service, true).await else {
            return;
        };
        let known = recognise(&mut service, &root, &PROFILES).await;
        let known = known.ok().flatten();
        let rules = known
            .iter()
            .chain(PROFILES.iter())
            .find_map(|profile| profile.redfish.clone());
        let Some(rules) = rules else { return };
        let mut walk = Walk::new(&mut service, &rules, &root);
        if let Ok(systems) = walk.systems().await {
            let _ = walk.inventory(&systems).await;
        }
    });
}

fn packed(input: &[u8]) {
    if let Ok(plain) = lenient::unpacked(input.to_vec(), Some("deflate"), LARGEST_BODY) {
        assert!(plain.len() <= LARGEST_BODY.max(input.len()));
        let _ = lenient::read(&plain);
    }
}
