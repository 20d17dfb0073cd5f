//! The programs as upstream releases them, each checked against its SHA-256.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::PROGRAMS;
use super::versions::Versions;
use crate::run::{is_installed, run, say};

/// Whether both download sites answer within a few seconds.
///
/// Farms and build machines often sit behind a firewall that drops packets, so
/// this must not wait long.
pub fn is_reachable(versions: &Versions) -> bool {
    let answers = |url: &str| {
        Command::new("curl")
            .args([
                "--fail",
                "--silent",
                "--location",
                "--head",
                "--max-time",
                "5",
                "--output",
                "/dev/null",
                url,
            ])
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    is_installed("curl")
        && answers(&format!("{}.sha256", kubernetes_url(versions, "kubeadm")))
        && etcd_url(versions).is_some_and(|url| answers(&format!("{url}/SHA256SUMS")))
}

/// Downloads every program into `folder`.
pub fn fetch(versions: &Versions, folder: &Path) -> Result<()> {
    for program in PROGRAMS.into_iter().filter(|program| *program != "etcd") {
        say(&format!("downloading {program} {}", versions.kubernetes));
        let url = kubernetes_url(versions, program);
        let file = folder.join(program);
        download(&url, &file)?;
        let sum = folder.join("sum");
        download(&format!("{url}.sha256"), &sum)?;
        check(&file, fs::read_to_string(&sum)?.trim())?;
        fs::remove_file(&sum)?;
        make_executable(&file)?;
    }
    fetch_etcd(versions, folder)
}

fn fetch_etcd(versions: &Versions, folder: &Path) -> Result<()> {
    let version = versions.etcd.as_deref().context("go.mod names no etcd")?;
    say(&format!("downloading etcd {version}"));
    let name = format!("etcd-{version}-linux-amd64");
    let (archive, sums) = (folder.join("etcd.tar.gz"), folder.join("sums"));
    let base = etcd_url(versions).context("go.mod names no etcd")?;
    download(&format!("{base}/{name}.tar.gz"), &archive)?;
    download(&format!("{base}/SHA256SUMS"), &sums)?;
    let text = fs::read_to_string(&sums)?;
    let wanted = sum_of(&text, &format!("{name}.tar.gz"))
        .with_context(|| format!("{base}/SHA256SUMS does not list {name}.tar.gz"))?;
    check(&archive, wanted)?;
    run(Command::new("tar")
        .arg("--extract")
        .arg("--gzip")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(folder)
        .args(["--strip-components=1", "--no-same-owner"])
        .arg(format!("{name}/etcd")))?;
    fs::remove_file(&archive)?;
    fs::remove_file(&sums)?;
    make_executable(&folder.join("etcd"))
}

fn kubernetes_url(versions: &Versions, program: &str) -> String {
    format!(
        "https://dl.k8s.io/{}/bin/linux/amd64/{program}",
        versions.kubernetes
    )
}

fn etcd_url(versions: &Versions) -> Option<String> {
    let version = versions.etcd.as_deref()?;
    Some(format!(
        "https://github.com/etcd-io/etcd/releases/download/{version}"
    ))
}

fn download(url: &str, file: &Path) -> Result<()> {
    run(Command::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--retry",
            "3",
        ])
        .args([
            "--connect-timeout",
            "10",
            "--speed-time",
            "60",
            "--speed-limit",
            "1000",
            "--output",
        ])
        .arg(file)
        .arg(url))
}

fn make_executable(file: &Path) -> Result<()> {
    fs::set_permissions(file, Permissions::from_mode(0o755))
        .with_context(|| format!("making {} executable", file.display()))
}

/// The digest that a `sha256sum` listing gives for a file.
fn sum_of<'a>(listing: &'a str, name: &str) -> Option<&'a str> {
    listing.lines().find_map(|line| {
        let (sum, file) = line.split_once(char::is_whitespace)?;
        (file.trim().trim_start_matches('*') == name).then_some(sum)
    })
}

fn check(file: &Path, wanted: &str) -> Result<()> {
    let mut hash = Sha256::new();
    let mut content = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    io::copy(&mut content, &mut hash).with_context(|| format!("reading {}", file.display()))?;
    let found = hex::encode(hash.finalize());
    if !found.eq_ignore_ascii_case(wanted) {
        bail!(
            "{}: SHA-256 is {found}, upstream says {wanted}",
            file.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_found_by_whole_name() {
        let listing = "aa  etcd-v3-linux-amd64.tar.gz\nbb *other.zip\n";
        assert_eq!(sum_of(listing, "etcd-v3-linux-amd64.tar.gz"), Some("aa"));
        assert_eq!(sum_of(listing, "other.zip"), Some("bb"));
        assert_eq!(sum_of(listing, "zip"), None);
    }

    #[test]
    fn a_wrong_sum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeadm");
        fs::write(&file, "").unwrap();
        check(
            &file,
            "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        )
        .unwrap();
        let error = check(&file, "00").unwrap_err().to_string();
        assert!(
            error.contains("kubeadm") && error.contains("upstream says 00"),
            "{error}"
        );
    }
}
