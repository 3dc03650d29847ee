//! One request and its response, between a client and a target that is connected.
//!
//! The request's body and the response go on at the same time: a target may answer before it has
//! read everything, and a client may wait for `100 Continue` before it sends anything.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use std::io;

use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::body::Framing;
use super::fields::{HeadError, HeadReader};
use super::pump::{Pump, PumpError};
use super::request::Request;
use super::response::Response;
use super::tunnel::tunnel;
use super::upstream::Upstream;
use crate::limits::{HTTP_INTERIM, HTTP_TARGET_TIME};
use crate::room::Outlet;
use crate::tls::TlsStream;

/// What is left after an exchange.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The client may send another request.
    pub(super) client_stays: bool,
    /// The target may be sent another request.
    pub(super) target_stays: bool,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is gone.
    Client(io::Error),
    /// The request's body is malformed.
    BadRequest(&'static str),
    /// The target failed before any of its response went to the client.
    Target {
        why: String,
        /// Not a byte came back.
        silent: bool,
    },
    /// The target failed in mid response: the client's connection can only be cut.
    Broken(String),
}

fn target_failed(why: impl Into<String>) -> Failure {
    Failure::Target { why: why.into(), silent: false }
}

/// Sends `head` and the rest of the request's body, and the response back.
pub(super) async fn exchange<S>(
    client: &mut TlsStream<S>,
    upstream: &mut Upstream,
    request: &Request,
    head: &[u8],
    body: &mut Pump,
) -> Result<Outcome, Failure>
where
    S: AsyncRead + Outlet + Unpin,
{
    match timeout(HTTP_TARGET_TIME, upstream.write_all(head)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Err(Failure::Target { why: error.to_string(), silent: true });
        }
        Err(_) => return Err(target_failed(no_progress("takes no request"))),
    }
    for _ in 0..HTTP_INTERIM {
        let response = response_head(client, upstream, request, body).await?;
        if response.is_interim() {
            to_client(client, &response.head(false), true).await?;
        } else if response.status == 101 {
            if !body.is_done() {
                return Err(target_failed("it switches protocols before it has the request"));
            }
            to_client(client, &response.head(false), true).await?;
            return tunnel(client, upstream).await.map_err(Failure::Broken);
        } else {
            return respond(client, upstream, request, body, &response).await;
        }
    }
    Err(target_failed("it sends interim answers without end"))
}

/// Waits for a response head, while the request's body is still being sent.
async fn response_head<S>(
    client: &mut TlsStream<S>,
    upstream: &mut Upstream,
    request: &Request,
    body: &mut Pump,
) -> Result<Response, Failure>
where
    S: AsyncRead + Outlet + Unpin,
{
    let mut head = HeadReader::default();
    // A target that answers and stops reading may close before it has all of the body.
    let mut unsent = None;
    let mut patience = pin!(sleep(HTTP_TARGET_TIME));
    poll_fn(|cx| {
        let before = (body.moved(), head.bytes().len());
        if unsent.is_none() {
            match body.poll(cx, client, upstream) {
                Poll::Ready(Err(PumpError::Source(error))) => {
                    return Poll::Ready(Err(Failure::Client(error)));
                }
                Poll::Ready(Err(PumpError::Framing(why))) => {
                    return Poll::Ready(Err(Failure::BadRequest(why)));
                }
                Poll::Ready(Err(PumpError::Sink(error))) => unsent = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if let Poll::Ready(result) = head.poll(cx, upstream) {
            let silent = head.bytes().is_empty();
            return Poll::Ready(result.map_err(|error| head_failed(error, unsent.take(), silent)));
        }
        let progress = before != (body.moved(), head.bytes().len());
        poll_patience(cx, patience.as_mut(), progress).map(|()| Err(target_failed(no_progress("gives no answer"))))
    })
    .await?;
    Response::parse(head.bytes(), request.is_head, request.upgrade)
        .map_err(|why| target_failed(format!("its answer has {why}")))
}

fn head_failed(error: HeadError, unsent: Option<io::Error>, silent: bool) -> Failure {
    let why = match (error, unsent) {
        (HeadError::Closed | HeadError::Io(_), Some(error)) => error.to_string(),
        (HeadError::Closed, None) => "it closed the connection without an answer".into(),
        (HeadError::Io(error), None) => error.to_string(),
        (HeadError::TooLong, _) => "its answer has a head that is too long".into(),
        (HeadError::BareLineFeed, _) => "its answer has a malformed head".into(),
    };
    Failure::Target { why, silent }
}

/// Passes the final response on, and what is left of the request's body.
async fn respond<S>(
    client: &mut TlsStream<S>,
    upstream: &mut Upstream,
    request: &Request,
    body: &mut Pump,
    response: &Response,
) -> Result<Outcome, Failure>
where
    S: AsyncRead + Outlet + Unpin,
{
    // Where the next request begins is certain only if this one has been read to its end.
    let client_stays = body.is_done() && !request.close;
    to_client(client, &response.head(!client_stays), false).await?;
    let mut reply = Pump::to_client(response.framing);
    let mut unsent = false;
    let mut patience = pin!(sleep(HTTP_TARGET_TIME));
    poll_fn(|cx| {
        let before = (body.moved(), reply.moved());
        if !unsent && !body.is_done() {
            unsent = matches!(body.poll(cx, client, upstream), Poll::Ready(Err(_)));
        }
        match reply.poll(cx, upstream, client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(PumpError::Sink(error))) => {
                return Poll::Ready(Err(Failure::Client(error)));
            }
            Poll::Ready(Err(PumpError::Source(error))) => {
                return Poll::Ready(Err(Failure::Broken(error.to_string())));
            }
            Poll::Ready(Err(PumpError::Framing(why))) => {
                return Poll::Ready(Err(Failure::Broken(why.into())));
            }
            Poll::Pending => {}
        }
        let progress = before != (body.moved(), reply.moved());
        poll_patience(cx, patience.as_mut(), progress).map(|()| Err(Failure::Broken(no_progress("sends no more"))))
    })
    .await?;
    let target_stays = body.is_done() && response.keep_alive && response.framing != Framing::Close;
    Ok(Outcome { client_stays, target_stays })
}

async fn to_client<S>(client: &mut TlsStream<S>, head: &[u8], flush: bool) -> Result<(), Failure>
where
    S: AsyncRead + Outlet + Unpin,
{
    let sent = async {
        client.write_all(head).await?;
        if flush { client.flush().await } else { Ok(()) }
    };
    match timeout(HTTP_TARGET_TIME, sent).await {
        Ok(result) => result.map_err(Failure::Client),
        Err(_) => Err(Failure::Client(io::ErrorKind::TimedOut.into())),
    }
}

fn no_progress(what: &str) -> String {
    format!("it {what} for {} s", HTTP_TARGET_TIME.as_secs())
}

/// Ready when there has been no progress for [`HTTP_TARGET_TIME`].
fn poll_patience(cx: &mut Context<'_>, mut left: Pin<&mut Sleep>, progress: bool) -> Poll<()> {
    if progress {
        left.as_mut().reset(Instant::now() + HTTP_TARGET_TIME);
    }
    left.poll(cx)
}
