//! The chassis manager's web interface from before Redfish: `SystemsSummary`,
//! resets and the one-time boot target, over plain HTTP on loopback.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use boot_proto::ids::SlotId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::model::{Cartridge, ChassisModel, Node};
use super::node::BootOnce;
use super::server::Shared;

/// How the web interface misbehaves.
#[derive(Debug, Default)]
pub struct WebFaults {
    /// So many of the next requests are answered with 404.
    pub not_found: AtomicU32,
    /// Every answer is a page for browsers.
    pub is_a_page: std::sync::atomic::AtomicBool,
    /// The summary leaves MACs out.
    pub hides_macs: std::sync::atomic::AtomicBool,
}

/// Serves until the runtime ends.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = answer(&shared, stream).await {
                tracing::debug!(%error, "web connection ended");
            }
        });
    }
}

/// A request: method, path, head in lower case, body.
struct Request {
    method: String,
    path: String,
    authorization: String,
    body: Value,
}

async fn answer(shared: &Arc<Shared>, mut stream: TcpStream) -> io::Result<()> {
    let Some(request) = read(&mut stream).await? else {
        return Ok(());
    };
    let own = Arc::clone(shared);
    // Starting a machine takes a moment.
    let decided = tokio::task::spawn_blocking(move || decide(&own, &request)).await;
    let (status, body) = decided.map_err(io::Error::other)?;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    const LONGEST: usize = 64 * 1024;
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > LONGEST {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (own, value) = line.split_once(':')?;
                own.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let length: usize = header("content-length")
            .and_then(|l| l.parse().ok())
            .unwrap_or(0);
        if body.len() < length {
            continue;
        }
        let mut words = head.split_whitespace();
        let mut word = || words.next().unwrap_or_default().to_owned();
        return Ok(Some(Request {
            method: word(),
            path: word(),
            authorization: header("authorization").unwrap_or_default(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }));
    }
}

fn decide(shared: &Shared, request: &Request) -> (u16, String) {
    shared.note_command(&format!("{} {}", request.method, request.path));
    // It is from before Redfish.
    if !request.path.to_ascii_lowercase().starts_with("/rest/") {
        return refusal(404, "ResourceMissingAtURI");
    }
    if !shared.knows_basic(&request.authorization) {
        return (401, String::new());
    }
    let faults = &shared.web_faults;
    if faults.is_a_page.load(Ordering::Relaxed) {
        return (200, "<html>Login</html>".into());
    }
    let one_less = |left: u32| left.checked_sub(1);
    let is_missing = faults
        .not_found
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    if is_missing.is_ok() {
        return refusal(404, "ResourceMissingAtURI");
    }
    let path = request.path.trim_end_matches('/').to_ascii_lowercase();
    if path == "/rest/v1/systemssummary" && request.method == "GET" {
        let hides_macs = faults.hides_macs.load(Ordering::Relaxed);
        return (200, summary(&shared.model, hides_macs).to_string());
    }
    let node = path
        .strip_prefix("/rest/v1/systems/")
        .and_then(|id| id.parse::<SlotId>().ok())
        .and_then(|slot| shared.model.node(slot));
    match (node, request.method.as_str()) {
        (Some(node), "GET") => (200, one(node).to_string()),
        (Some(node), "POST") => reset(shared, node, &request.body),
        (Some(node), "PATCH") => boot(node, &request.body),
        _ => refusal(404, "ResourceMissingAtURI"),
    }
}

fn refusal(status: u16, message: &str) -> (u16, String) {
    let message = format!("Base.0.10.{message}");
    let body = json!({"Messages": [{"MessageID": message}], "Type": "ExtendedError.1.0.0"});
    (status, body.to_string())
}

fn summary(model: &ChassisModel, hides_macs: bool) -> Value {
    let filler =
        json!({"Name": "Cartridge 0 Node 0", "Power": "Off", "HostMACAddress": [], "UUID": ""});
    let entry = |(slot, cartridge, node): (SlotId, &Cartridge, &Node)| {
        let macs: Vec<Value> = node
            .nics
            .iter()
            .filter(|_| !hides_macs)
            .map(|mac| mac.map_or(Value::Null, |mac| json!(mac.to_string())))
            .collect();
        json!({
            "Name": format!("Cartridge {} Node {}", slot.cartridge(), slot.node()),
            "Power": node.shown_power().word(),
            "Health": node.status,
            "HostMACAddress": macs,
            "Memory": node.memory,
            "Model": cartridge.product,
            "SerialNumber": cartridge.serial,
            "UUID": node.uuid,
            "AssetTag": node.asset_tag,
        })
    };
    let systems: Vec<Value> = std::iter::once(filler)
        .chain(model.nodes().map(entry))
        .collect();
    json!({
        "Name": "Systems Summary",
        "Type": "SystemsSummary.0.9.5",
        "SystemsInChassis": systems.len() - 1,
        "Systems": systems,
    })
}

fn one(node: &Node) -> Value {
    let (enabled, target) = match node.boot_once() {
        Some(BootOnce::Pxe) => ("Once", "PXE"),
        Some(BootOnce::Disk) => ("Once", "HDD"),
        None => ("Disabled", "None"),
    };
    json!({
        "Power": node.shown_power().word(),
        "Boot": {"BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": target},
    })
}

fn reset(shared: &Shared, node: &Node, body: &Value) -> (u16, String) {
    let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_on = node.power_switch().power() != super::PowerState::Off;
    let done = match (word("Action"), word("ResetType")) {
        ("Reset", "On") => node.switch_on(shared.settle),
        ("Reset", "ForceOff") => node.switch_off(true, shared.settle),
        ("Reset", "ColdReset") if is_on => node
            .switch_off(true, std::time::Duration::ZERO)
            .and_then(|()| node.switch_on(shared.settle)),
        ("Reset", "ColdReset") => return refusal(400, "InvalidOperationForSystemState"),
        _ => return refusal(400, "ActionParameterUnknown"),
    };
    match done {
        Ok(()) => (
            200,
            json!({"Messages": [{"MessageID": "Base.0.10.Success"}]}).to_string(),
        ),
        Err(error) => {
            tracing::warn!(%error, "resetting");
            refusal(500, "InternalError")
        }
    }
}

fn boot(node: &Node, body: &Value) -> (u16, String) {
    let word = |name: &str| {
        body.pointer(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match (
        word("/Boot/BootSourceOverrideEnabled"),
        word("/Boot/BootSourceOverrideTarget"),
    ) {
        ("Once", "PXE") => {
            node.set_boot_once(BootOnce::Pxe);
            (
                200,
                json!({"Messages": [{"MessageID": "Base.0.10.Success"}]}).to_string(),
            )
        }
        _ => refusal(400, "PropertyValueNotInList"),
    }
}
