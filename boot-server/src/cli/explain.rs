//! `boot-server explain`.

use std::fmt::Write as _;

use clap::Args;

use super::client::Client;
use super::table::{or_dash, span};
use super::{Output, ServerArgs, print};
use crate::clock;
use crate::explain::Explanation;

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  boot-server explain m1-c11n1
  boot-server explain 94:57:a5:d3:ec:f2
  boot-server explain 10.28.0.17 -o json")]
pub(super) struct ExplainArgs {
    /// MAC, address, SMBIOS UUID or name of a machine or node.
    who: String,
    /// How to print it.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let who: String = args.who.chars().map(escape).collect();
    let explanation: Explanation = client.get(&format!("/api/v1/explain/{who}"))?;
    if args.output == Output::Json {
        return print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&explanation)?
        ));
    }
    print(&render(&explanation))
}

/// What has no place in a path comes out as something no machine is called.
fn escape(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '_') {
        c
    } else {
        '_'
    }
}

fn render(it: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{:18}{value}", format!("{key}:"));
    };
    let macs: Vec<String> = it.macs.iter().map(ToString::to_string).collect();
    let with = |value: &Option<String>, note: Option<&String>| match (value, note) {
        (Some(value), Some(note)) => format!("{value} ({note})"),
        (value, _) => or_dash(value.as_ref()),
    };
    line(
        "Machine",
        with(&it.machine, it.machine.is_some().then_some(&it.matched)),
    );
    if it.machine.is_some() {
        line(
            "Declared",
            if it.declared { "yes" } else { "no, found" }.into(),
        );
        line("Hostname", it.hostname.clone());
    }
    line("MACs", macs.join(", "));
    line("UUID", or_dash(it.uuid.as_ref()));
    line("Pool", with(&it.pool, it.pool_rule.as_ref()));
    line("Profiles", or_dash(Some(it.profiles.join(", "))));
    let of_link = || "of the link or relay it asks through".to_owned();
    line("Subnet", it.subnet.clone().unwrap_or_else(of_link));
    line("Reserved address", or_dash(it.address));
    let digest = it.image_digest.map(|digest| digest.to_string());
    line("Image", with(&it.image, digest.as_ref()));
    if let Some(group) = &it.matchbox {
        line("Matchbox group", group.clone());
    }
    line("Loader", or_dash(it.loader.as_ref()));
    line("Cluster", or_dash(it.cluster.as_ref()));
    line(
        "Kernel arguments",
        or_dash(Some(it.kernel_arguments.join(" "))),
    );
    let labels: Vec<String> = it
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    line("Labels", or_dash(Some(labels.join(", "))));
    let taints: Vec<String> = it
        .taints
        .iter()
        .map(|taint| format!("{}={}:{:?}", taint.key, taint.value, taint.effect))
        .collect();
    line("Taints", or_dash(Some(taints.join(", "))));
    let now = clock::wall();
    for lease in &it.leases {
        let until = lease.expires.map_or_else(
            || "for ever".into(),
            |at| format!("for {}", span(at.since(now))),
        );
        line(
            "Lease",
            format!(
                "{} to {} ({}, {until})",
                lease.address, lease.mac, lease.kind
            ),
        );
    }
    if let Some(last) = &it.last_answer {
        let words = [
            last.address.map(|address| format!(" {address}")),
            last.boot_file.as_ref().map(|file| format!(", {file}")),
            last.nothing_to_boot
                .as_ref()
                .map(|why| format!(", nothing to boot: {why}")),
            last.why.as_ref().map(|why| format!(": {why}")),
        ];
        let words: String = words.into_iter().flatten().collect();
        let at = last.at.to_rfc3339();
        line("Last DHCP answer", format!("{at} {}{words}", last.answer));
        for option in &last.options {
            let name = format!("{} {}", option.code, option.name);
            line(
                "  option",
                format!("{name:24} {} ({})", option.value, option.source),
            );
        }
    }
    if let Some(boot) = &it.boot {
        let reason = boot
            .reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        line(
            "Last boot",
            format!("{} at {}{reason}", boot.outcome, boot.phase),
        );
        if let Some(step) = boot.steps.last() {
            line(
                "Last step",
                format!("{} {}: {}", step.at.to_rfc3339(), step.step, step.message),
            );
        }
    }
    for problem in &it.problems {
        line("Problem", problem.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_told_why() {
        let explanation = Explanation {
            macs: vec!["94:57:a5:d3:ec:f2".parse().unwrap()],
            problems: vec!["no Machine has MAC 94:57:a5:d3:ec:f2".into()],
            ..Explanation::default()
        };
        let text = render(&explanation);
        assert!(text.contains("Machine:          -\n"), "{text}");
        assert!(
            text.contains("Problem:          no Machine has MAC"),
            "{text}"
        );
    }
}
