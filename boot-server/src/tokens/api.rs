//! The few calls to a cluster's API server that tokens and nodes need.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use boot_proto::time::WallClock;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};

use super::{TokenError, TokenRequest, left};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often `cluster-info` is looked at while a signature is waited for.
const SIGNATURE_POLL: Duration = Duration::from_millis(300);
/// Type of a bootstrap token's Secret.
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group whose members kubeadm's rules let join.
const JOIN_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// A cluster's API server.
#[derive(Clone)]
pub(super) struct ClusterApi {
    client: kube::Client,
}

impl ClusterApi {
    pub async fn open(kubeconfig: &Path) -> Result<Self, TokenError> {
        let wrong = |error: &dyn std::error::Error| TokenError::Kubeconfig {
            path: kubeconfig.to_owned(),
            reason: crate::images::chain(error),
        };
        let file = Kubeconfig::read_from(kubeconfig).map_err(|error| wrong(&error))?;
        Self::connect(file, kubeconfig).await
    }

    /// With a kubeconfig out of `place`, which errors name.
    pub async fn connect(file: Kubeconfig, place: &Path) -> Result<Self, TokenError> {
        let wrong = |error: &dyn std::error::Error| TokenError::Kubeconfig {
            path: place.to_owned(),
            reason: crate::images::chain(error),
        };
        let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|error| wrong(&error))?;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(CALL_TIMEOUT);
        config.reset_reader_on_write = true;
        // The machine asks again; it is told what is wrong at once.
        config.default_retry = false;
        let client = kube::Client::try_from(config).map_err(|error| wrong(&error))?;
        Ok(Self { client })
    }

    pub async fn create_token(
        &self,
        id: &str,
        secret: &str,
        request: &TokenRequest,
        expires: WallClock,
    ) -> Result<(), TokenError> {
        let machine = &request.machine;
        let data = [
            ("token-id", id.to_owned()),
            ("token-secret", secret.to_owned()),
            ("expiration", expires.to_rfc3339()),
            ("usage-bootstrap-authentication", "true".to_owned()),
            ("usage-bootstrap-signing", "true".to_owned()),
            ("auth-extra-groups", JOIN_GROUP.to_owned()),
            (
                "description",
                format!("Moonfarm: lets machine {machine} join, once"),
            ),
        ];
        let object = Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(id)),
                namespace: Some("kube-system".into()),
                labels: Some([(left::MACHINE.into(), left::label(machine).into())].into()),
                annotations: Some(
                    [
                        (left::MACHINE.into(), machine.clone()),
                        (left::NODE.into(), request.hostname.clone()),
                        (left::EXPIRES.into(), expires.to_rfc3339()),
                    ]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.into()),
            string_data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
            ..Secret::default()
        };
        self.secrets()
            .create(&PostParams::default(), &object)
            .await
            .map(|_| ())
            .map_err(|error| TokenError::api("creating a join token", &error))
    }

    /// What is told of the Secrets in `kube-system` with these labels; of what they
    /// hold nothing is read. None where the kubeconfig's user may not list them.
    pub async fn tokens(
        &self,
        selector: &str,
    ) -> Result<Vec<PartialObjectMeta<Secret>>, TokenError> {
        let params = ListParams::default().labels(selector);
        match self.secrets().list_metadata(&params).await {
            Ok(list) => Ok(list.items),
            Err(error) if is_forbidden(&error) => {
                tracing::debug!(error = %crate::images::chain(&error),
                    "join tokens of other boot-servers end by themselves");
                Ok(Vec::new())
            }
            Err(error) => Err(TokenError::api("listing join tokens", &error)),
        }
    }

    /// Deletes a token; one that is gone is fine.
    pub async fn delete_token(&self, id: &str) -> Result<(), TokenError> {
        match self
            .secrets()
            .delete(&secret_name(id), &DeleteParams::default())
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(TokenError::api("revoking a join token", &error)),
        }
    }

    /// Waits until `cluster-info` is signed with the token, so that kubeadm's
    /// discovery works at its first try. `false` when it is not within `limit`,
    /// or cannot be seen.
    pub async fn wait_for_signature(&self, id: &str, limit: Duration) -> bool {
        let key = format!("jws-kubeconfig-{id}");
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-public");
        let wait = async {
            loop {
                match maps.get("cluster-info").await {
                    Ok(map) if has_key(map.data.as_ref(), &key) => return true,
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
                        return false;
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(SIGNATURE_POLL).await;
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    pub async fn node(&self, name: &str) -> Result<Option<Node>, TokenError> {
        self.nodes()
            .get_opt(name)
            .await
            .map_err(|error| TokenError::api("looking for the Node", &error))
    }

    /// Deletes this Node, and not one that has come under its name since.
    pub async fn delete_node(&self, node: &Node) -> Result<(), TokenError> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let same = Preconditions {
            uid: node.metadata.uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams::default().preconditions(same);
        match self.nodes().delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(TokenError::api("deleting the former Node", &error)),
        }
    }

    pub async fn patch_node(
        &self,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), TokenError> {
        self.nodes()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|_| ())
            .map_err(|error| TokenError::api("changing the Node", &error))
    }

    /// The pods that are bound to a node.
    pub async fn pods_of(&self, node: &str) -> Result<Vec<Pod>, TokenError> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let listed = pods.list(&params).await;
        let listed = listed.map_err(|error| TokenError::api("listing the node's pods", &error))?;
        Ok(listed.items)
    }

    /// Asks this pod to leave, and not one that has come under its name since.
    pub async fn evict(&self, pod: &Pod) -> Result<Evicted, TokenError> {
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(Evicted::Ending);
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        // kube's own verb writes `delete_options`, which the API does not know.
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
        });

        let asked: kube::Result<Value> = pods
            .create_subresource("eviction", name, &PostParams::default(), &eviction)
            .await;
        match asked {
            Ok(_) => Ok(Evicted::Ending),
            Err(kube::Error::Api(status)) => match status.code {
                // 409: another pod has its name now.
                404 | 409 => Ok(Evicted::Gone),
                429 => Ok(Evicted::Refused(causes(&status))),
                // More than one budget covers it: nobody can say which counts.
                500 => Ok(Evicted::Refused(status.message.clone())),
                _ => Err(TokenError::api("evicting a pod", &kube::Error::Api(status))),
            },
            Err(error) => Err(TokenError::api("evicting a pod", &error)),
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "kube-system")
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }
}

/// What came of asking a pod to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// It is not there any more.
    Gone,
    /// It has been told to end.
    Ending,
    /// A PodDisruptionBudget keeps it.
    Refused(String),
}

/// A refusal in the API server's words, with its details, which name the budget.
fn causes(status: &kube::core::Status) -> String {
    let details = status.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<&str> = details
        .map(|cause| cause.message.as_str())
        .filter(|message| !message.is_empty())
        .collect();
    if causes.is_empty() {
        status.message.clone()
    } else {
        causes.join(", ")
    }
}

fn secret_name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

fn has_key(data: Option<&BTreeMap<String, String>>, key: &str) -> bool {
    data.is_some_and(|data| data.contains_key(key))
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
