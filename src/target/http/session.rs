//! One client's connection: its `CONFIG` line, then its requests, one after the other.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use std::io;

use log::{debug, warn};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::answer;
use super::body::Decoder;
use super::config::Config;
use super::exchange::{Failure, exchange};
use super::fields::{HeadError, HeadReader};
use super::kubernetes::Action;
use super::pump::Pump;
use super::request::{Refusal, Request};
use super::upstream::Upstream;
use crate::limits::{CLOSE_TIME, HTTP_CONFIG_LINE, HTTP_DRAIN, HTTP_IDLE_TIME, HTTP_TARGET_TIME};
use crate::room::Outlet;
use crate::target::connect::{ConnectError, connect};
use crate::target::gathered::Gathered;
use crate::target::{Context, close};
use crate::tls::{ClientFacts, Connector, Scheme, Target, TlsStream, Trust};

/// Serves one client to its end.
pub(crate) async fn serve<S>(client: TlsStream<S>, facts: &ClientFacts, context: &Context)
where
    S: AsyncRead + Outlet + Unpin + Send,
{
    let mut session = Session { client, facts, context, config: Config::default(), kept: None };
    match session.run().await {
        Ok(()) => close(session.client).await,
        // Dropped without a close_notify: what the client has may not be the whole answer.
        Err(error) => debug!("http: a client's connection ends early: {error}"),
    }
}

struct Session<'a, S> {
    client: TlsStream<S>,
    facts: &'a ClientFacts,
    context: &'a Context,
    config: Config,
    /// The connection that the last request left in good order.
    kept: Option<(Route, Upstream)>,
}

/// Where a request goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    target: Target,
    /// Trust the cluster's CA rather than the `CONFIG` line.
    cluster: bool,
}

/// Whether the client's connection can go on.
enum Next {
    Request,
    Close,
}

impl<S: AsyncRead + Outlet + Unpin + Send> Session<'_, S> {
    /// Serves requests until the client has no more, or has sent something that can't be followed.
    async fn run(&mut self) -> io::Result<()> {
        match timeout(HTTP_IDLE_TIME, self.read_config()).await {
            Ok(Ok(Ok(config))) => self.config = config,
            Ok(Ok(Err(why))) => return self.refuse(&Refusal { status: 400, why }).await,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        }
        if let Ok(target) = self.facts.target()
            && target.scheme == Some(Scheme::Https)
            && !self.config.verify
        {
            warn!(
                "http: {target}: the platform turned certificate verification off (verify=false): \
                 whoever answers there is believed"
            );
        }
        loop {
            let mut head = HeadReader::default();
            let read = timeout(HTTP_IDLE_TIME, poll_fn(|cx| head.poll(cx, &mut self.client))).await;
            match read {
                Ok(Ok(())) => {}
                Ok(Err(HeadError::Closed)) | Err(_) => return Ok(()),
                Ok(Err(HeadError::Io(error))) => return Err(error),
                Ok(Err(HeadError::TooLong)) => {
                    return self.refuse(&Refusal { status: 431, why: "the request head is too long" }).await;
                }
                Ok(Err(HeadError::BareLineFeed)) => {
                    let why = "a line of the request ends in a bare line feed";
                    return self.refuse(&Refusal { status: 400, why }).await;
                }
            }
            let request = match Request::parse(head.bytes(), self.facts.is_platform()) {
                Ok(request) => request,
                Err(refusal) => return self.refuse(&refusal).await,
            };
            drop(head);
            if let Next::Close = self.serve_request(&request).await? {
                return Ok(());
            }
        }
    }

    /// The first line; the inner error is the client's fault.
    async fn read_config(&mut self) -> io::Result<Result<Config, &'static str>> {
        let mut line = Vec::new();
        loop {
            let input = self.client.fill_buf().await?;
            if input.is_empty() {
                return Ok(Err("the connection ended before the CONFIG line"));
            }
            let line_feed = input.iter().position(|&byte| byte == b'\n');
            let count = line_feed.unwrap_or(input.len());
            if line.len() + count > HTTP_CONFIG_LINE {
                return Ok(Err("the CONFIG line is too long"));
            }
            line.extend_from_slice(&input[..count]);
            let consumed = count + usize::from(line_feed.is_some());
            Pin::new(&mut self.client).consume(consumed);
            if line_feed.is_some() {
                return Ok(Config::parse(&line));
            }
        }
    }

    async fn serve_request(&mut self, request: &Request) -> io::Result<Next> {
        let mut body = Pump::new(request.framing);
        let (route, authorization) = match self.route(request) {
            Ok(route) => route,
            Err((status, why)) => {
                warn!("http: {why}");
                return self.decline(request, body.into_decoder(), status, &why).await;
            }
        };
        let head = request.head(&route.target.to_string(), &authorization);
        let mut kept = self.take_kept(&route).await;
        loop {
            let reused = kept.is_some();
            let mut upstream = match kept.take() {
                Some(upstream) => upstream,
                None => match open(&route, &self.config, self.context).await {
                    Ok(upstream) => upstream,
                    Err((status, why)) => {
                        let why = format!("{}: {why}", route.target);
                        warn!("http: {why}");
                        return self.decline(request, body.into_decoder(), status, &why).await;
                    }
                },
            };
            match exchange(&mut self.client, &mut upstream, request, &head, &mut body).await {
                Ok(outcome) => {
                    // A query may hold secrets.
                    debug!("http: {}: {}", route.target, request.line.split('?').next().unwrap_or_default());
                    self.kept = outcome.target_stays.then_some((route, upstream));
                    return Ok(if outcome.client_stays { Next::Request } else { Next::Close });
                }
                // The target closed the kept connection just now: that says nothing about this request.
                Err(Failure::Target { silent: true, .. }) if reused && request.may_be_repeated() => {
                    body = Pump::new(request.framing);
                }
                Err(Failure::Target { why, .. }) => {
                    let why = format!("{}: {why}", route.target);
                    warn!("http: {why}");
                    return self.decline(request, body.into_decoder(), 500, &why).await;
                }
                Err(Failure::BadRequest(why)) => {
                    self.refuse(&Refusal { status: 400, why }).await?;
                    return Ok(Next::Close);
                }
                Err(Failure::Broken(why)) => {
                    warn!("http: {}: the answer broke off: {why}", route.target);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Err(Failure::Client(error)) => return Err(error),
            }
        }
    }

    /// Where this request goes, and the authorization it gets there.
    fn route(&self, request: &Request) -> Result<(Route, Vec<u8>), (u16, String)> {
        let kubernetes = &self.context.kubernetes;
        let failed = |why| (500, why);
        let authorization = match request.action {
            Some(_) => kubernetes.authorization().map_err(failed)?,
            None => Vec::new(),
        };
        let cluster = request.action == Some(Action::UseServiceAccount);
        let target = if cluster {
            kubernetes.target().map_err(failed)?
        } else {
            self.facts.target().map_err(|error| (400, error.to_string()))?.clone()
        };
        Ok((Route { target, cluster }, authorization))
    }

    /// The kept connection, if it leads there and is still good.
    async fn take_kept(&mut self, route: &Route) -> Option<Upstream> {
        let (kept, mut upstream) = self.kept.take()?;
        let idle = poll_fn(|cx| Poll::Ready(upstream.is_idle(cx))).await;
        (kept == *route && idle).then_some(upstream)
    }

    /// Answers for a target that gave no answer. The connection stays usable if the rest of the
    /// request can be read away.
    async fn decline(&mut self, request: &Request, body: Decoder, status: u16, why: &str) -> io::Result<Next> {
        // A client that waits for a go-ahead may or may not send its body now.
        let certain = body.is_done() || !request.expects_continue;
        let stays = certain && !request.close && self.drain(body).await?;
        self.say(&answer(status, why, !stays)).await?;
        Ok(if stays { Next::Request } else { Next::Close })
    }

    /// Reads the rest of a request's body away; `false` when that is too much or takes too long.
    async fn drain(&mut self, mut body: Decoder) -> io::Result<bool> {
        let client = &mut self.client;
        let drained = async {
            let mut total = 0;
            while !body.is_done() && total <= HTTP_DRAIN {
                let input = client.fill_buf().await?;
                let Ok(framing) = body.framing(input) else {
                    return Ok(false);
                };
                let length = (input.len() - framing) as u64;
                let length = length.min(body.available()) as usize;
                if input.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                body.took(length);
                total += (framing + length) as u64;
                Pin::new(&mut *client).consume(framing + length);
            }
            Ok(body.is_done())
        };
        timeout(CLOSE_TIME, drained).await.unwrap_or(Ok(false))
    }

    /// Answers a request that can't be followed; the connection ends after it.
    async fn refuse(&mut self, refusal: &Refusal) -> io::Result<()> {
        warn!("http: a request is refused with {}: {}", refusal.status, refusal.why);
        self.say(&answer(refusal.status, refusal.why, true)).await
    }

    async fn say(&mut self, answer: &[u8]) -> io::Result<()> {
        let said = async {
            self.client.write_all(answer).await?;
            self.client.flush().await
        };
        timeout(CLOSE_TIME, said).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A new connection, or the status and the reason to answer with.
async fn open(route: &Route, config: &Config, context: &Context) -> Result<Upstream, (u16, String)> {
    let failed = |why: String| (500, why);
    let secure = route.target.scheme == Some(Scheme::Https);
    let connector = secure.then(|| connector(route, config, context)).transpose().map_err(failed)?;
    let socket = match connect(&route.target, &context.policy).await {
        Ok(socket) => socket,
        Err(ConnectError::Policy) => return Err((403, ConnectError::Policy.to_string())),
        Err(error) => return Err(failed(error.to_string())),
    };
    let Some(connector) = connector else {
        return Ok(Upstream::Plain(Gathered::new(socket)));
    };
    match timeout(HTTP_TARGET_TIME, connector.connect(socket, &route.target.host)).await {
        Ok(Ok(stream)) => Ok(Upstream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no TLS handshake within {} s", HTTP_TARGET_TIME.as_secs()))),
    }
}

/// Whom to trust: the cluster's CA, or what the `CONFIG` line says.
fn connector(route: &Route, config: &Config, context: &Context) -> Result<Connector, String> {
    if route.cluster {
        let ca = context.kubernetes.ca()?;
        return Connector::new(Trust::Given(&ca), &context.clock).map_err(|why| format!("ca.crt: {why}"));
    }
    let trust = match config {
        Config { verify: false, .. } => Trust::Anyone,
        Config { ca: Some(ca), .. } => Trust::Given(ca),
        Config { ca: None, .. } => return Connector::new(Trust::Public, &context.clock),
    };
    Connector::new(trust, &context.clock).map_err(|why| format!("ca= in the CONFIG line: {why}"))
}
