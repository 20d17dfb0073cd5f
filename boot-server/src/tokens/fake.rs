//! A small API server for tests: Secrets, Nodes and `cluster-info`, with the
//! controller that signs for tokens, and a switch that makes it go away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use boot_proto::resources::{ClusterSpec, Metadata, Object};
use serde_json::{Value, json};

/// What the API server holds.
#[derive(Default)]
pub(crate) struct World {
    pub secrets: BTreeMap<String, Value>,
    pub nodes: BTreeMap<String, Value>,
    /// Pods by name, in the namespace `default`.
    pub pods: BTreeMap<String, Value>,
    /// Pods that a PodDisruptionBudget keeps.
    pub kept: Vec<String>,
    /// How long the signing controller takes; `None` when it does not run.
    pub signs_after: Option<Duration>,
    pub signatures: BTreeMap<String, String>,
    /// Time of what is created, RFC 3339.
    pub now: &'static str,
    pub is_away: bool,
    /// Whether the kubeconfig's user may not list Secrets.
    pub hides_secrets: bool,
    /// Requests that changed something, in order.
    pub calls: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct FakeApi {
    world: Arc<Mutex<World>>,
    pub url: String,
}

impl FakeApi {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = World {
            signs_after: Some(Duration::ZERO),
            now: "2026-01-01T12:00:00Z",
            ..World::default()
        };
        let api = Self {
            world: Arc::new(Mutex::new(world)),
            url,
        };
        let router = Router::new()
            .route(
                "/api/v1/namespaces/kube-system/secrets",
                post(create_secret).get(secrets),
            )
            .route(
                "/api/v1/namespaces/kube-system/secrets/{name}",
                axum::routing::delete(delete_secret),
            )
            .route(
                "/api/v1/namespaces/kube-public/configmaps/cluster-info",
                get(cluster_info),
            )
            .route(
                "/api/v1/nodes/{name}",
                get(node).delete(delete_node).patch(patch_node),
            )
            .route("/api/v1/pods", get(pods))
            .route(
                "/api/v1/namespaces/default/pods/{name}/eviction",
                post(evict),
            )
            .with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Writes a kubeconfig for it and returns a Cluster that names that file.
    pub fn cluster(&self, folder: &Path) -> Object<ClusterSpec> {
        let path: PathBuf = folder.join("admin.conf");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": self.url } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "users": [{ "name": "u", "user": { "token": "t" } }],
        });
        std::fs::write(&path, text.to_string()).unwrap();
        Object {
            metadata: Metadata {
                name: "farm".into(),
                ..Metadata::default()
            },
            spec: serde_json::from_value(json!({
                "endpoint": "10.0.0.1:6443", "caCertHashes": ["sha256:00"],
                "kubeconfigFile": "admin.conf",
            }))
            .unwrap(),
        }
    }

    /// A running pod on a node.
    pub fn put_pod(&self, name: &str, node: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": "Running" },
        });
        self.world().pods.insert(name.to_owned(), pod);
    }

    /// A Node as its kubelet would keep it.
    pub fn put_node(&self, name: &str, ready: bool, uuid: &str) {
        let status = if ready { "True" } else { "False" };
        let now = self.world().now;
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1",
                "creationTimestamp": now,
            },
            "spec": {},
            "status": {
                "conditions": [{ "type": "Ready", "status": status, "message": "cni plugin not initialized" }],
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "c",
                    "kernelVersion": "k", "kubeProxyVersion": "", "kubeletVersion": "v",
                    "machineID": "m", "operatingSystem": "linux", "osImage": "o", "systemUUID": uuid,
                },
            },
        });
        self.world().nodes.insert(name.to_owned(), node);
    }
}

async fn pods(
    State(api): State<FakeApi>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let world = api.world();
    away(&world).unwrap_or_else(|| {
        let node = query["fieldSelector"].trim_start_matches("spec.nodeName=");
        let of_node = world
            .pods
            .values()
            .filter(|pod| pod["spec"]["nodeName"] == node);
        let items: Vec<&Value> = of_node.collect();
        Json(json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items }))
            .into_response()
    })
}

async fn evict(
    State(api): State<FakeApi>,
    UrlPath(name): UrlPath<String>,
    Json(eviction): Json<Value>,
) -> Response {
    let mut world = api.world();
    let Some(pod) = world.pods.get(&name) else {
        return not_found();
    };
    assert_eq!(
        eviction["deleteOptions"]["preconditions"]["uid"],
        pod["metadata"]["uid"]
    );
    world.calls.push(format!("evict {name}"));
    if world.kept.contains(&name) {
        return status(
            StatusCode::TOO_MANY_REQUESTS,
            "Cannot evict pod as it would violate the pod's disruption budget.",
        );
    }
    world.pods.remove(&name);
    Json(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })).into_response()
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": reason, "code": code.as_u16(),
    });
    (code, Json(body)).into_response()
}

fn away(world: &World) -> Option<Response> {
    world
        .is_away
        .then(|| status(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"))
}

fn not_found() -> Response {
    status(StatusCode::NOT_FOUND, "NotFound")
}

async fn create_secret(State(api): State<FakeApi>, Json(mut secret): Json<Value>) -> Response {
    let mut world = api.world();
    if let Some(away) = away(&world) {
        return away;
    }
    let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
    world.calls.push(format!("create {name}"));
    // The API server answers with base64 `data` where it was given `stringData`.
    let given = secret["stringData"].take();
    secret.as_object_mut().unwrap().remove("stringData");
    secret["metadata"]["creationTimestamp"] = world.now.into();
    let mut kept = secret.clone();
    kept["stringData"] = given;
    world.secrets.insert(name.clone(), kept);
    if let Some(after) = world.signs_after {
        let id = name.trim_start_matches("bootstrap-token-").to_owned();
        let api = api.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            api.world()
                .signatures
                .insert(format!("jws-kubeconfig-{id}"), "x..y".into());
        });
    }
    (StatusCode::CREATED, Json(secret)).into_response()
}

/// Metadata of Secrets; a selector is `KEY=VALUE`, or a key alone.
async fn secrets(
    State(api): State<FakeApi>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let world = api.world();
    let accepts = headers["accept"].to_str().unwrap();
    assert!(accepts.contains("as=PartialObjectMetadataList"));
    away(&world).unwrap_or_else(|| {
        if world.hides_secrets {
            return status(StatusCode::FORBIDDEN, "Forbidden");
        }
        let selector = &query["labelSelector"];
        let (key, wanted) = selector
            .split_once('=')
            .map_or((selector.as_str(), None), |(key, value)| (key, Some(value)));
        let fits = |secret: &&Value| {
            let label = secret["metadata"]["labels"][key].as_str();
            label.is_some_and(|label| wanted.is_none_or(|wanted| wanted == label))
        };
        let items = world.secrets.values().filter(fits);
        let items = items.map(|secret| json!({ "metadata": secret["metadata"] }));
        let items: Vec<Value> = items.collect();
        Json(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
            "metadata": {}, "items": items,
        }))
        .into_response()
    })
}

async fn delete_secret(State(api): State<FakeApi>, UrlPath(name): UrlPath<String>) -> Response {
    let mut world = api.world();
    if let Some(away) = away(&world) {
        return away;
    }
    world.calls.push(format!("delete {name}"));
    match world.secrets.remove(&name) {
        Some(_) => Json(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            .into_response(),
        None => not_found(),
    }
}

async fn cluster_info(State(api): State<FakeApi>) -> Response {
    let world = api.world();
    away(&world).unwrap_or_else(|| {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "cluster-info", "namespace": "kube-public" },
            "data": world.signatures,
        });
        Json(map).into_response()
    })
}

async fn node(State(api): State<FakeApi>, UrlPath(name): UrlPath<String>) -> Response {
    let world = api.world();
    away(&world).unwrap_or_else(|| match world.nodes.get(&name) {
        Some(node) => Json(node.clone()).into_response(),
        None => not_found(),
    })
}

async fn delete_node(
    State(api): State<FakeApi>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> Response {
    let mut world = api.world();
    let options: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(node) = world.nodes.get(&name) else {
        return not_found();
    };
    if options["preconditions"]["uid"] != node["metadata"]["uid"] {
        return status(StatusCode::CONFLICT, "Conflict");
    }
    world.calls.push(format!("delete node {name}"));
    let node = world.nodes.remove(&name).unwrap_or_default();
    Json(node).into_response()
}

async fn patch_node(
    State(api): State<FakeApi>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    Json(patch): Json<Value>,
) -> Response {
    let mut world = api.world();
    assert_eq!(headers["content-type"], "application/merge-patch+json");
    world.calls.push(format!("patch node {name}"));
    let Some(node) = world.nodes.get_mut(&name) else {
        return not_found();
    };
    let asked = &patch["metadata"]["resourceVersion"];
    if !asked.is_null() && *asked != node["metadata"]["resourceVersion"] {
        return status(StatusCode::CONFLICT, "Conflict");
    }
    merge(node, &patch);
    Json(node.clone()).into_response()
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}
