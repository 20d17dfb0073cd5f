//! The pages for monitoring: `/metrics`, `/healthz`, `/readyz`.

use std::io;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, serve};
use tokio::net::TcpListener;

use crate::clock;
use crate::metrics::Metrics;

/// Serves the pages until it is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn watch(listener: TcpListener, metrics: Metrics) -> io::Result<()> {
    let pages = Router::new()
        .route("/metrics", get(numbers))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(metrics);
    serve(listener, pages).await
}

async fn numbers(State(metrics): State<Metrics>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.page())
}

async fn health(State(metrics): State<Metrics>) -> impl IntoResponse {
    verdict(metrics.health(clock::now()))
}

async fn readiness(State(metrics): State<Metrics>) -> impl IntoResponse {
    verdict(metrics.readiness(clock::now()))
}

fn verdict(result: Result<(), String>) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_pages_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        tokio::spawn(watch(listener, metrics.clone()));
        metrics.begin("m1");
        metrics.beat(clock::now());
        for (path, status, holds) in [
            ("/healthz", "200", "ok"),
            ("/readyz", "503", "not looked at yet: m1"),
            ("/metrics", "200", "# TYPE moonfarm_chassis_up gauge"),
            ("/nothing", "404", ""),
        ] {
            let answer = fetch(address, path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(holds),
                "{path}: {answer}"
            );
        }
        metrics.failed("m1", "busy");
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    }
}
