//! The port for metrics: `/metrics` as Prometheus reads it, `/health` while the process lives, `/ready` once it serves. It has a
//! thread of its own, so that it answers while a recovery goes on and costs the event loop nothing.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::warn;

use super::{Listeners, Options};
use crate::metrics::Metrics;

/// Connections at once, and how long one may last.
const CONNECTIONS_MAX: usize = 32;
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);
/// A longer head of a request is refused.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long nobody is accepted after that has failed, as where no file can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// Serves the page on the addresses of the options from now on.
///
/// # Errors
/// An address that cannot be listened on, or no event loop or thread from the system.
pub fn serve_page(options: &Options, metrics: Arc<Metrics>) -> io::Result<()> {
    let listeners = Listeners::bind(options)?;
    thread::Builder::new().name("metrics".into()).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(accept_all(listeners, metrics)),
            Err(error) => warn!(%error, "the port for metrics is not served"),
        }
    })?;
    Ok(())
}

async fn accept_all(listeners: Listeners, metrics: Arc<Metrics>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = Vec::new();
    for socket in listeners.into_plain() {
        match TcpListener::from_std(socket.into()) {
            Ok(listener) => accepting.push(spawn_local(accept(listener, metrics.clone(), room.clone()))),
            Err(error) => warn!(%error, "the port for metrics is not served"),
        }
    }
    for task in accepting {
        let _ = task.await;
    }
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>, room: Arc<Semaphore>) {
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let metrics = metrics.clone();
        spawn_local(async move {
            let answer = service_fn(|request| {
                let response = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = http1::Builder::new();
            http.max_buf_size(REQUEST_BYTES_MAX);
            // Whoever breaks off has his reasons.
            let _ = timeout(CONNECTION_TIME_MAX, http.serve_connection(TokioIo::new(socket), answer)).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, text) = match request.uri().path() {
        _ if !is_read => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
        "/metrics" => (StatusCode::OK, PROMETHEUS, metrics.prometheus()),
        "/health" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/ready" if metrics.page.is_ready() => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
        "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "there are /metrics, /health and /ready\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
