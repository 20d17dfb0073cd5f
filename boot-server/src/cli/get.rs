//! `boot-server get`.

use std::io::IsTerminal as _;
use std::time::Duration;

use boot_proto::api::{BootView, ChassisView, ImageView, LeaseView, MachineView};
use boot_proto::resources::{Condition, MachineSpec};
use boot_proto::time::WallClock;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::table::{age, one_line, or_dash, size, span, table};
use super::{Output, ServerArgs, chassis, follow, print, timeline};
use crate::clock;
use crate::farm::MOVING;

/// Options of `get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boot-server get machines -o wide
  boot-server get chassis                what is wrong with which, since when
  boot-server get boots --latest --watch
  boot-server get boots m1-c1n1          the whole timeline of its latest boot
  boot-server get boots m1-c1n1 --follow
  boot-server get leases -o json | jq '.[].address'")]
pub(super) struct GetArgs {
    /// What to show.
    what: What,
    /// Show this one alone: a machine, an address or MAC, an image. For boots,
    /// the whole timeline of the machine's latest one.
    name: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Of boots, show the latest of each machine only.
    #[arg(long)]
    latest: bool,
    /// Show it again whenever it changes, until stopped.
    #[arg(long)]
    watch: bool,
    /// Of one machine's boot, print each step as it happens, until the boot is
    /// over; the exit status tells how it ended.
    #[arg(long, requires = "name", conflicts_with = "watch")]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Machines, declared or found.
    #[value(alias = "machine")]
    Machines,
    /// Chassis managers and BMCs, and what is wrong with them.
    Chassis,
    /// DHCP leases.
    #[value(alias = "lease")]
    Leases,
    /// Boots and how far they are.
    #[value(alias = "boot")]
    Boots,
    /// Images in the store.
    #[value(alias = "image")]
    Images,
}

pub(super) fn run(args: &GetArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    if args.follow {
        let name = args.name.as_deref().unwrap_or_default();
        anyhow::ensure!(
            args.what == What::Boots,
            "--follow is for one machine's boot: boot-server get boots NAME --follow"
        );
        return follow::run(&client, |boot| is_of(boot, name));
    }
    if !args.watch {
        return print(&render(&client, args)?);
    }
    let (mut shown, mut complaint) = (None, String::new());
    loop {
        match render(&client, args) {
            Ok(text) => {
                complaint.clear();
                if shown.as_ref() != Some(&text) {
                    print(&format!("{}{text}", clear()))?;
                    shown = Some(text);
                }
            }
            // The server may be starting again: whoever watches goes on.
            Err(error) if shown.is_some() => {
                let error = crate::images::chain(error.as_ref());
                if complaint != error {
                    eprintln!("boot-server: {error}; trying again");
                    complaint = error;
                }
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Home and clear, as `watch` does; a file or pipe gets it in a row.
fn clear() -> &'static str {
    if std::io::stdout().is_terminal() {
        "\u{1b}[H\u{1b}[2J"
    } else {
        ""
    }
}

fn render(client: &Client, args: &GetArgs) -> anyhow::Result<String> {
    let now = clock::wall();
    let is_wide = args.output == Output::Wide;
    let name = args.name.as_deref();
    match args.what {
        What::Machines => {
            let fits = |machine: &MachineView, name: &str| {
                machine.name == name || machine.hostname == name || has_mac(machine, name)
            };
            show(client, args, "machines", fits, |all| machines(all, is_wide))
        }
        What::Chassis => {
            let fits = |one: &ChassisView, name: &str| one.name == name || one.spec.address == name;
            show(client, args, "chassis", fits, |all| {
                chassis::render(all, now, is_wide)
            })
        }
        What::Leases => {
            let fits = |lease: &LeaseView, name: &str| {
                lease.address.to_string() == name
                    || Ok(lease.mac) == name.parse()
                    || lease.machine.as_deref() == Some(name)
            };
            show(client, args, "leases", fits, |all| leases(all, now))
        }
        What::Images => {
            let fits = |image: &ImageView, name: &str| {
                image.name == name
                    || image.digest.to_string() == name
                    || image.digest.hex().starts_with(name)
            };
            show(client, args, "images", fits, |all| {
                images(all, now, is_wide)
            })
        }
        What::Boots => {
            let fits = is_of;
            let one = name.is_some();
            show_boots(client, args, fits, |all| match all.last() {
                Some(boot) if one => timeline::render(boot, now),
                _ => boots(all, now, is_wide),
            })
        }
    }
}

/// Whether a boot is of the machine with that name, MAC or address.
fn is_of(boot: &BootView, name: &str) -> bool {
    boot.machine.as_deref() == Some(name)
        || boot.mac.is_some_and(|mac| name.parse() == Ok(mac))
        || boot
            .address
            .is_some_and(|address| name.parse() == Ok(address))
}

fn has_mac(machine: &MachineView, name: &str) -> bool {
    name.parse()
        .is_ok_and(|mac| machine.spec.macs.contains(&mac))
}

fn show<T: DeserializeOwned + Serialize>(
    client: &Client,
    args: &GetArgs,
    path: &str,
    fits: impl Fn(&T, &str) -> bool,
    draw: impl Fn(&[T]) -> String,
) -> anyhow::Result<String> {
    let mut items: Vec<T> = client.get(&format!("/api/v1/{path}"))?;
    select(&mut items, args, path, fits)?;
    draw_or_json(&items, args, draw)
}

fn show_boots(
    client: &Client,
    args: &GetArgs,
    fits: impl Fn(&BootView, &str) -> bool,
    draw: impl Fn(&[BootView]) -> String,
) -> anyhow::Result<String> {
    let mut items: Vec<BootView> = client.get("/api/v1/boots")?;
    select(&mut items, args, "boots", fits)?;
    if args.latest {
        keep_latest(&mut items);
    }
    draw_or_json(&items, args, draw)
}

fn select<T>(
    items: &mut Vec<T>,
    args: &GetArgs,
    path: &str,
    fits: impl Fn(&T, &str) -> bool,
) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        items.retain(|item| fits(item, name));
        anyhow::ensure!(
            !items.is_empty() || args.watch,
            "there is nothing for {name:?}; `boot-server get {path}` shows all"
        );
    }
    Ok(())
}

fn draw_or_json<T: Serialize>(
    items: &[T],
    args: &GetArgs,
    draw: impl Fn(&[T]) -> String,
) -> anyhow::Result<String> {
    if args.output == Output::Json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(items)?));
    }
    Ok(draw(items))
}

/// Leaves the latest boot of each machine; they come oldest first.
fn keep_latest(boots: &mut Vec<BootView>) {
    let key = |boot: &BootView| {
        boot.machine
            .clone()
            .or_else(|| boot.mac.map(|mac| mac.to_string()))
    };
    let latest: std::collections::HashMap<_, _> =
        boots.iter().map(|boot| (key(boot), boot.id)).collect();
    boots.retain(|boot| latest.get(&key(boot)) == Some(&boot.id));
}

fn machines(machines: &[MachineView], is_wide: bool) -> String {
    let mut header = vec!["NAME", "POOL", "POWER", "PHASE", "ADDRESS"];
    if is_wide {
        header.extend([
            "HOSTNAME", "DECLARED", "MACS", "IMAGE", "CPUS", "MEMORY", "MODEL", "UUID", "SLOT",
            "TROUBLE",
        ]);
    }
    let row = |machine: &MachineView| {
        let (spec, status) = (&machine.spec, &machine.status);
        let mut row = vec![
            machine.name.clone(),
            or_dash(machine.pool.as_ref()),
            status.power.to_string(),
            or_dash(status.phase.as_ref()),
            or_dash(status.address.or(spec.address)),
        ];
        if is_wide {
            let macs = if spec.macs.is_empty() {
                &status.facts.macs
            } else {
                &spec.macs
            };
            let macs: Vec<String> = macs.iter().map(ToString::to_string).collect();
            let facts = &status.facts;
            row.extend([
                machine.hostname.clone(),
                if machine.declared { "yes" } else { "no" }.to_owned(),
                or_dash(Some(macs.join(","))),
                or_dash(status.image.map(|image| image.short())),
                or_dash(Some(facts.cpus).filter(|cpus| *cpus > 0)),
                or_dash(
                    Some(facts.memory_bytes)
                        .filter(|bytes| *bytes > 0)
                        .map(size),
                ),
                or_dash(facts.model.as_deref().map(|model| one_line(model, 30))),
                or_dash(facts.uuid.as_ref().or(spec.uuid.as_ref())),
                or_dash(place(spec)),
                or_dash(trouble(&status.conditions)),
            ]);
        }
        row
    };
    table(&header, &machines.iter().map(row).collect::<Vec<_>>())
}

/// `CHASSIS/SLOT`, as pools name it.
fn place(spec: &MachineSpec) -> Option<String> {
    let (chassis, slot) = (spec.chassis.as_ref()?, spec.slot.as_ref()?);
    Some(format!("{chassis}/{slot}"))
}

/// What is wrong with a machine, or keeps its move to another pool, in words.
fn trouble(conditions: &[Condition]) -> Option<String> {
    let bad = conditions
        .iter()
        .filter(|one| one.status == "False" || one.r#type == MOVING);
    let words: Vec<String> = bad
        .map(|one| format!("{}: {}", one.r#type, one_line(&one.message, 120)))
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn leases(leases: &[LeaseView], now: WallClock) -> String {
    let row = |lease: &LeaseView| {
        let expires = lease.expires.map(|at| {
            if at > now {
                format!("in {}", span(at.since(now)))
            } else {
                "expired".to_owned()
            }
        });
        vec![
            lease.address.to_string(),
            lease.mac.to_string(),
            or_dash(lease.machine.as_ref()),
            lease.subnet.clone(),
            lease.kind.clone(),
            expires.unwrap_or_else(|| "never".into()),
        ]
    };
    let header = ["ADDRESS", "MAC", "MACHINE", "SUBNET", "KIND", "EXPIRES"];
    table(&header, &leases.iter().map(row).collect::<Vec<_>>())
}

fn images(images: &[ImageView], now: WallClock, is_wide: bool) -> String {
    let row = |image: &ImageView| {
        vec![
            image.name.clone(),
            if is_wide {
                image.digest.to_string()
            } else {
                image.digest.short()
            },
            image.kernel_release.clone(),
            size(image.size),
            size(image.root_size),
            age(image.added, now),
            or_dash(Some(image.pools.join(","))),
        ]
    };
    let header = ["NAME", "DIGEST", "KERNEL", "SIZE", "ROOT", "AGE", "POOLS"];
    table(&header, &images.iter().map(row).collect::<Vec<_>>())
}

/// How long a boot took, or takes so far.
pub(super) fn seconds(boot: &BootView, now: WallClock) -> u64 {
    let end = if boot.outcome == "running" {
        now
    } else {
        boot.updated
    };
    end.since(boot.started).as_secs()
}

fn boots(boots: &[BootView], now: WallClock, is_wide: bool) -> String {
    let mut header = vec![
        "ID", "MACHINE", "PHASE", "PERCENT", "SECONDS", "OUTCOME", "STARTED", "REASON",
    ];
    if is_wide {
        header.splice(2..2, ["MAC", "ADDRESS", "FIRMWARE", "IMAGE"]);
    }
    let row = |boot: &BootView| {
        let mut row = vec![
            boot.id.to_string(),
            or_dash(
                boot.machine
                    .clone()
                    .or_else(|| boot.mac.map(|mac| mac.to_string())),
            ),
            boot.phase.clone(),
            boot.percent
                .map_or_else(|| "-".into(), |percent| format!("{percent}%")),
            seconds(boot, now).to_string(),
            boot.outcome.clone(),
            format!("{} ago", age(boot.started, now)),
            or_dash(
                boot.reason
                    .as_deref()
                    .map(|reason| one_line(reason, if is_wide { 400 } else { 80 })),
            ),
        ];
        if is_wide {
            let more = [
                or_dash(boot.mac),
                or_dash(boot.address),
                or_dash(boot.firmware.as_ref()),
                or_dash(boot.image.map(|image| image.short())),
            ];
            row.splice(2..2, more);
        }
        row
    };
    table(&header, &boots.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_shown_with_where_they_stopped() {
        let now = WallClock(1_700_000_100_000);
        let boot = |id, machine: &str, outcome: &str| BootView {
            id,
            machine: Some(machine.into()),
            started: WallClock(1_700_000_000_000),
            updated: WallClock(1_700_000_040_000),
            phase: "image".into(),
            percent: Some(40),
            outcome: outcome.into(),
            reason: (outcome == "failed").then(|| "digest\n differs".to_owned()),
            ..BootView::default()
        };
        let mut all = vec![
            boot(1, "a", "failed"),
            boot(2, "b", "running"),
            boot(3, "a", "running"),
        ];
        let text = boots(&all, now, false);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|line| line.split_ascii_whitespace().collect())
            .collect();
        assert_eq!(rows[0][..6], ["1", "a", "image", "40%", "40", "failed"]);
        assert_eq!(rows[0][8..], ["digest", "differs"]);
        assert_eq!(rows[1][..6], ["2", "b", "image", "40%", "100", "running"]);
        let wide = boots(&all, now, true);
        assert_eq!(
            wide.lines()
                .next()
                .unwrap()
                .split_ascii_whitespace()
                .count(),
            12
        );
        keep_latest(&mut all);
        assert_eq!(all.iter().map(|boot| boot.id).collect::<Vec<_>>(), [2, 3]);
    }
}
