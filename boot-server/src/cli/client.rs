//! Talking to a running server's management API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use boot_proto::api::ApiError;
use serde::de::DeserializeOwned;

use super::ServerArgs;
use crate::http::BearerToken;
use crate::serve::TOKEN;

/// A client of the management API.
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    authorization: String,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let path = args
            .token_file
            .clone()
            .unwrap_or_else(|| args.state.join(TOKEN));
        let token = BearerToken::read(&path).with_context(|| {
            format!(
                "reading the management token {}; name the server's state folder with --state, or \
                 the token with --token-file",
                path.display()
            )
        })?;
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let server = args.server.trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            server,
            authorization: token.header(),
            runtime,
        })
    }

    /// Fetches `path`, such as `/api/v1/machines`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            let request = self.http.get(format!("{}{path}", self.server));
            let response = request
                .header("authorization", &self.authorization)
                .send()
                .await
                .with_context(|| format!("asking boot-server at {}; does it run?", self.server))?;
            let status = response.status();
            let body = response
                .bytes()
                .await
                .context("reading boot-server's answer")?;
            if !status.is_success() {
                match serde_json::from_slice::<ApiError>(&body) {
                    Ok(error) => bail!("{}", error.error),
                    Err(_) => bail!("{} answers {status}", self.server),
                }
            }
            serde_json::from_slice(&body).with_context(|| {
                format!(
                    "{} gives an answer this version does not understand",
                    self.server
                )
            })
        })
    }
}
