//! Servers in this process.

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// Serves `app` on a free port until the handle is dropped.
pub async fn serve(app: Router) -> (Url, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, AbortOnDropHandle::new(serving))
}

/// Serves `app` on a free port until the test's runtime ends.
pub async fn serve_until_end(app: Router) -> Url {
    let (url, serving) = serve(app).await;
    drop(serving.detach());
    url
}
