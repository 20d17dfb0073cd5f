//! Logins out of Secrets: put into files of the state folder that only we may
//! read, since that is where drivers read a login.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use boot_proto::resources::{ChassisSpec, Object};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use super::api::{Cluster, KubernetesError, call};

/// The Chassis with its Secret in files in place of the Secret's name; as it is
/// where it names none.
///
/// # Errors
/// When the Secret cannot be read or kept, or has no login.
pub async fn resolve(
    cluster: &Cluster,
    chassis: &Object<ChassisSpec>,
    state: &Path,
) -> Result<Object<ChassisSpec>, KubernetesError> {
    let Some(name) = chassis.spec.credentials.secret.clone() else {
        return Ok(chassis.clone());
    };
    // The name becomes a folder's.
    if boot_proto::ids::name_mistake(&name).is_some() {
        return Err(KubernetesError::Secret { name });
    }
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = call(|| format!("reading Secret {name}"), secrets.get(&name)).await?;
    let data = secret.data.unwrap_or_default();
    let folder = state.join("secrets").join(&name);
    let keep = |key: &str| -> Result<Option<String>, KubernetesError> {
        let Some(value) = data.get(key) else {
            return Ok(None);
        };
        let path = folder.join(key);
        write(&folder, &path, &value.0).map_err(|source| KubernetesError::Keep {
            name: name.clone(),
            path: path.clone(),
            source,
        })?;
        Ok(Some(path.display().to_string()))
    };
    let mut resolved = chassis.clone();
    let credentials = &mut resolved.spec.credentials;
    credentials.password_file = keep("password")?;
    credentials.private_key_file = keep("ssh-privatekey")?;
    if credentials.password_file.is_none() && credentials.private_key_file.is_none() {
        return Err(KubernetesError::Secret { name });
    }
    if let Some(user) = data.get("username") {
        credentials.username = Some(String::from_utf8_lossy(&user.0).trim().to_owned());
    }
    credentials.secret = None;
    Ok(resolved)
}

fn write(folder: &Path, path: &Path, value: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    if fs::read(path).is_ok_and(|there| there == value) {
        return Ok(());
    }
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(value)?;
    fs::rename(&new, path)
}
