//! Network adapters of a chassis: device functions, and ports where the
//! functions leave MACs open.

use std::collections::BTreeSet;

use boot_proto::ids::MacAddr;
use serde_json::Value;

use super::macs::NicList;
use super::resources::{link, links, number, text};
use super::walk::Walk;
use crate::drivers::DriverError;

/// Reads the adapters of a chassis.
///
/// # Errors
/// When the service fails on the way.
pub(super) async fn read(
    walk: &mut Walk<'_>,
    chassis: &Value,
    nics: &mut NicList<'_>,
) -> Result<(), DriverError> {
    let Some(path) = link(chassis, "NetworkAdapters") else {
        return Ok(());
    };
    for (_, adapter) in walk.collection(&path).await? {
        read_adapter(walk, &adapter, nics).await?;
    }
    Ok(())
}

/// Reads the adapters that a system itself names. In a sled of two systems the
/// chassis has the adapters of both, and this alone tells whose they are.
///
/// # Errors
/// When the service fails on the way.
pub(super) async fn read_named(
    walk: &mut Walk<'_>,
    system: &Value,
    nics: &mut NicList<'_>,
) -> Result<(), DriverError> {
    let Some(path) = link(system, "NetworkInterfaces") else {
        return Ok(());
    };
    for (_, interface) in walk.collection(&path).await? {
        let adapter = interface
            .get("Links")
            .and_then(|named| link(named, "NetworkAdapter"));
        let adapter = match adapter {
            Some(uri) => walk.optional(&uri).await?,
            // It has the functions and ports of its adapter as well.
            None => Some(interface),
        };
        if let Some(adapter) = adapter {
            read_adapter(walk, &adapter, nics).await?;
        }
    }
    Ok(())
}

async fn read_adapter(
    walk: &mut Walk<'_>,
    adapter: &Value,
    nics: &mut NicList<'_>,
) -> Result<(), DriverError> {
    if is_known(adapter, nics) {
        return Ok(());
    }
    // iLO 4 and 5 have the MACs of a card in the card itself.
    nics.base_adapter(adapter);
    let id = text(adapter, "Id").unwrap_or_default();
    let mut macs: BTreeSet<MacAddr> = BTreeSet::new();
    let mut is_storage = false;
    if let Some(path) = link(adapter, "NetworkDeviceFunctions") {
        let functions = walk.collection(&path).await?;
        is_storage = !functions.is_empty() && functions.iter().all(|(_, f)| is_fibre_channel(f));
        for (_, function) in &functions {
            macs.extend(nics.function(&id, function));
        }
    }
    if is_storage || has_all(adapter, macs.len()) {
        return Ok(());
    }
    // Ports is the newer resource, NetworkPorts the older one; some
    // services have both, and the MACs in one of them only.
    for name in ["Ports", "NetworkPorts"] {
        let Some(path) = link(adapter, name) else {
            continue;
        };
        for (_, port) in walk.collection(&path).await? {
            macs.extend(nics.port(&id, &port));
        }
        if !macs.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Whether the system's interfaces have shown the MACs of all functions that
/// the adapter names, one for each of its ports.
fn is_known(adapter: &Value, nics: &NicList<'_>) -> bool {
    let controllers = adapter.get("Controllers").and_then(Value::as_array);
    let functions: Vec<String> = controllers
        .into_iter()
        .flatten()
        .filter_map(|controller| controller.get("Links"))
        .flat_map(|named| links(named, "NetworkDeviceFunctions"))
        .collect();
    has_all(adapter, functions.len()) && functions.iter().all(|uri| nics.knows_function(uri))
}

fn is_fibre_channel(function: &Value) -> bool {
    let kind = function.get("NetDevFuncType").and_then(Value::as_str);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("FibreChannel"))
}

/// Whether there is a MAC for each port that the adapter says it has. One that
/// does not say, or says -1, is asked for its ports.
fn has_all(adapter: &Value, macs: usize) -> bool {
    let controllers = adapter.get("Controllers").and_then(Value::as_array);
    let ports: Option<i64> = controllers
        .into_iter()
        .flatten()
        .try_fold(0, |sum, controller| {
            let count = controller.pointer("/ControllerCapabilities/NetworkPortCount")?;
            number(count)
                .filter(|count| *count > 0)
                .map(|count| i64::saturating_add(sum, count))
        });
    ports.is_some_and(|ports| ports > 0 && usize::try_from(ports).is_ok_and(|ports| macs >= ports))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_asked_where_macs_are_open() {
        let adapter = |count: Value| json!({"Controllers": [{"ControllerCapabilities": {"NetworkPortCount": count}}]});
        for (adapter, macs, expected) in [
            (adapter(json!(2)), 2, true),
            (adapter(json!("2")), 2, true),
            (adapter(json!(2)), 1, false),
            (adapter(json!(-1)), 1, false),
            (adapter(json!(null)), 1, false),
            (json!({}), 1, false),
            (json!({"Controllers": null}), 1, false),
        ] {
            assert_eq!(has_all(&adapter, macs), expected, "{adapter}");
        }
    }
}
