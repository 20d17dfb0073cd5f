//! Host keys: recorded, pinned, refused when they change.

use chassis_agent::drivers::Scope;

use super::*;

async fn visit(chassis: &VirtualChassis, host_key: HostKeyPolicy) -> Result<(), DriverError> {
    let mut driver = open(Target {
        host_key,
        ..target(chassis)
    })
    .await?;
    driver.observe(Scope::Power).await.map(|_| ())
}

#[tokio::test]
async fn a_key_recorded_at_first_contact_is_refused_when_it_changes() {
    let chassis = chassis();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/known-hosts");
    let first_contact = || HostKeyPolicy::FirstContact(file.clone());
    let before = chassis.host_key();
    for _ in 0..2 {
        visit(&chassis, first_contact()).await.unwrap();
    }
    let recorded = std::fs::read_to_string(&file).unwrap();
    assert_eq!(recorded, format!("{} {before}\n", chassis.address()));
    chassis.change_host_key().unwrap();
    let error = visit(&chassis, first_contact()).await.unwrap_err();
    assert_eq!(error.kind(), "host-key");
    let text = error.to_string();
    for part in [
        before.as_str(),
        &chassis.host_key(),
        &format!("remove its line from {}", file.display()),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    // The login never went to the wrong device.
    assert_eq!(chassis.commands().len(), 4);
    visit(&chassis, HostKeyPolicy::Any).await.unwrap();
    std::fs::write(&file, "").unwrap();
    visit(&chassis, first_contact()).await.unwrap();
}

#[tokio::test]
async fn a_pinned_key_must_be_the_one() {
    let chassis = chassis();
    visit(&chassis, HostKeyPolicy::Pinned(chassis.host_key()))
        .await
        .unwrap();
    let pin = HostKeyPolicy::Pinned(chassis.host_key());
    chassis.change_host_key().unwrap();
    let text = visit(&chassis, pin).await.unwrap_err().to_string();
    assert!(text.contains("pinned with --host-key or hostKey"), "{text}");
}

#[tokio::test]
async fn a_key_that_cannot_be_recorded_is_not_trusted() {
    let chassis = chassis();
    let folder = tempfile::tempdir().unwrap();
    let blocker = folder.path().join("file");
    std::fs::write(&blocker, "").unwrap();
    let policy = HostKeyPolicy::FirstContact(blocker.join("known-hosts"));
    let text = visit(&chassis, policy).await.unwrap_err().to_string();
    assert!(
        text.contains("--known-hosts") && text.contains(&chassis.host_key()),
        "{text}"
    );
}
