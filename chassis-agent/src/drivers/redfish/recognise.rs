//! Which hardware profile fits a service. The root is read anyway; a system and
//! the manager are asked only where a better rule depends on them.

use std::sync::Arc;

use boot_proto::hardware_profile::HardwareProfile;
use boot_proto::redfish_rules::{RedfishRules, ServiceRule, fits};
use serde_json::Value;

use super::fetch::{Fetch, FetchError};
use super::resources::{Root, members};
use super::walk::Walk;
use crate::drivers::DriverError;

/// The profile whose rule fits and names most properties; of equals, the first.
///
/// # Errors
/// When the service fails while it is asked.
pub async fn recognise(
    fetch: &mut dyn Fetch,
    root: &Value,
    profiles: &[Arc<HardwareProfile>],
) -> Result<Option<Arc<HardwareProfile>>, DriverError> {
    let mut rules: Vec<(&ServiceRule, &Arc<HardwareProfile>)> = profiles
        .iter()
        .filter_map(|profile| profile.redfish.as_ref().map(|rules| (rules, profile)))
        .flat_map(|(rules, profile)| rules.recognise.iter().map(move |rule| (rule, profile)))
        .filter(|(rule, _)| fits(&rule.root, root))
        .collect();
    rules.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.weight()));
    let mut system = None;
    let mut manager = None;
    for (rule, profile) in rules {
        if !rule.system.is_empty() {
            if system.is_none() {
                system = Some(first_system(fetch, root).await?);
            }
            if !system
                .as_ref()
                .is_some_and(|system| fits(&rule.system, system))
            {
                continue;
            }
        }
        if !rule.manager.is_empty() {
            if manager.is_none() {
                manager = Some(first_manager(fetch, root).await?);
            }
            if !manager
                .as_ref()
                .is_some_and(|manager| fits(&rule.manager, manager))
            {
                continue;
            }
        }
        return Ok(Some(Arc::clone(profile)));
    }
    Ok(None)
}

/// The first system that can be read, host or not.
async fn first_system(fetch: &mut dyn Fetch, root: &Value) -> Result<Value, DriverError> {
    let rules = RedfishRules {
        not_hosts: Vec::new(),
        ..RedfishRules::default()
    };
    let systems = Walk::new(fetch, &rules, root).systems().await;
    match systems {
        Ok(systems) => Ok(systems
            .into_iter()
            .next()
            .map_or(Value::Null, |system| system.body)),
        Err(error) if is_about_one_resource(&error) => Ok(Value::Null),
        Err(error) => Err(error),
    }
}

async fn first_manager(fetch: &mut dyn Fetch, root: &Value) -> Result<Value, DriverError> {
    let root = Root::read(root);
    let uri = match (root.manager, root.managers) {
        (Some(uri), _) => Some(uri),
        (None, None) => None,
        (None, Some(collection)) => match fetch.get(&collection).await {
            Ok(collection) => members(&collection)
                .into_iter()
                .next()
                .map(|member| member.uri),
            Err(FetchError::Absent(_)) => None,
            Err(FetchError::Fatal(error)) => return Err(error),
        },
    };
    let Some(uri) = uri else {
        return Ok(Value::Null);
    };
    match fetch.get(&uri).await {
        Ok(manager) => Ok(manager),
        Err(FetchError::Absent(_)) => Ok(Value::Null),
        Err(FetchError::Fatal(error)) => Err(error),
    }
}

const fn is_about_one_resource(error: &DriverError) -> bool {
    matches!(
        error,
        DriverError::Refused { .. } | DriverError::Garbled { .. }
    )
}
