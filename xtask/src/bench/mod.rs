//! `cargo xtask bench …`: measurements that anybody can repeat, against the
//! programs that others use. Each bench prints a plain table on stdout; what it
//! is doing meanwhile goes to stderr.
//!
//! A bench is a file here with `Options` and `run`, and a line in
//! [`BenchCommand`]. What they share is below: repeated samples, tables, release
//! builds, and what a process has used.

mod boot;
mod dhcp;
mod http;
mod machines;
mod programs;
mod samples;
mod scrape;
mod storm;
pub mod table;
mod tftp;
mod usage;
mod wire;

use anyhow::Result;
use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// boot-server's DHCP against dnsmasq, Kea and ISC dhcpd.
    Dhcp(dhcp::DhcpOptions),
    /// Boots of Moonfarm beside live-boot, dracut and a busybox script.
    Boot(boot::BootOptions),
    /// chassis-agent against thousands of virtual BMCs and Moonshot chassis.
    Scrape(scrape::ScrapeOptions),
    /// boot-server's TFTP beside dnsmasq, tftpd-hpa and atftpd.
    Tftp(tftp::TftpOptions),
    /// The clients of `tftp`, which run in a process of their own.
    #[command(hide = true)]
    TftpClient(tftp::client::ClientOptions),
    /// boot-server's HTTP beside nginx.
    Http(http::HttpOptions),
    /// boot-server with thousands of Machines in an API server.
    Machines(machines::MachinesOptions),
    /// Thousands of nodes boot at once through DHCP, TFTP and HTTP.
    Storm(storm::StormOptions),
    /// The nodes of `storm`, which run in a process of their own.
    #[command(hide = true)]
    StormNodes(storm::crowd::CrowdOptions),
}

/// Measures.
///
/// # Errors
/// When something that is needed is missing, or a program fails.
pub fn run(command: &BenchCommand) -> Result<()> {
    // What prints for another process to read prints nothing else.
    match command {
        BenchCommand::TftpClient(options) => return tftp::client::run(options),
        BenchCommand::StormNodes(options) => return storm::crowd::run(options),
        _ => print!("{}", usage::this_machine()),
    }
    match command {
        BenchCommand::Boot(options) => boot::run_bench(options),
        BenchCommand::Dhcp(options) => dhcp::run(options),
        BenchCommand::Scrape(options) => scrape::run(options),
        BenchCommand::Tftp(options) => tftp::run(options),
        BenchCommand::Http(options) => http::run(options),
        BenchCommand::Machines(options) => machines::run(options),
        BenchCommand::Storm(options) => storm::run(options),
        BenchCommand::TftpClient(_) | BenchCommand::StormNodes(_) => Ok(()),
    }
}
