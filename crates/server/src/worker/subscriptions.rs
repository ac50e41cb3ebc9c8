//! FHIR Subscriptions: what was committed becomes numbered events, and these go to their endpoints.
//!
//! Following and delivering are apart, so that a slow endpoint holds up nobody else. Each subscription is delivered by
//! one task at a time, in order; an event goes out again until its receiver has taken it.

use super::{Failure, Registry};
use crate::config::Config;
use crate::state::AppState;
use anyhow::Context as _;
use reach::hook::{Hook, Request};
use reach::mail::{Mail, Mailer};
use record::Record;
use record::subscription::{Channel, Delivery, Due, Kind, Message, Rules, Step};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Both are also looked at after every commit; this is for retries and heartbeats.
const EVERY: Duration = Duration::from_secs(1);
/// Subscriptions delivered at once.
const DELIVERIES: usize = 16;

/// Longest wait for deliveries at the end.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The ways out, and how much goes on at once.
pub struct Notifications {
    hook: Hook,
    mailer: Option<Mailer>,
    permits: Arc<Semaphore>,
}

impl Notifications {
    /// The clinic's way out for e-mail, if it has one.
    pub(super) fn mailer(&self) -> Option<&Mailer> {
        self.mailer.as_ref()
    }

    /// Also tells the record what the operator allows. Errors: what of the configuration is wrong.
    pub fn start(config: &Config, record: &Record) -> anyhow::Result<Notifications> {
        let given = &config.subscriptions;
        let mailer = match &config.mail.url {
            None => None,
            Some(url) => {
                let mail =
                    reach::mail::Config { url: url.expose().to_owned(), from: config.mail.from.clone() };
                Some(Mailer::new(&mail).map_err(anyhow::Error::msg)?)
            }
        };
        record.set_subscription_rules(Rules {
            allow_http: given.allow_http,
            allow_private: given.allow_private,
            hosts: given.hosts.clone(),
            email: mailer.is_some(),
            retry_s: given.retry_seconds,
            max_failures: given.max_failures,
        });
        let hook = Hook::new(reach::egress::Rules {
            allow_http: given.allow_http,
            allow_private: given.allow_private,
            hosts: given.hosts.clone(),
        })
        .context("no HTTP client")?;
        Ok(Notifications { hook, mailer, permits: Arc::new(Semaphore::new(DELIVERIES)) })
    }

    /// Waits until what is on its way has been noted or given back. After the worker has ended, before the database does.
    pub async fn stop(&self) {
        let all = u32::try_from(DELIVERIES).unwrap_or(1);
        if tokio::time::timeout(STOP_TIME, self.permits.acquire_many(all)).await.is_err() {
            tracing::warn!("a notification did not end in time; it comes again");
        }
    }
}

pub fn register(registry: &mut Registry) {
    registry.poll("subscriptions.follow", EVERY, |app| async move {
        Ok(app.record.follow_subscriptions(&app.worker_name).await?)
    });
    registry.poll("subscriptions.deliver", EVERY, |app| async move { deliver(&app).await });
}

/// Takes what is due and sets off a task for each. Returns how many.
async fn deliver(app: &AppState) -> Result<usize, Failure> {
    let free = app.parts.notifications.permits.available_permits();
    if free == 0 {
        return Ok(0);
    }
    let due = app.record.due_subscriptions(u32::try_from(free).unwrap_or(1)).await?;
    let count = due.len();
    for one in due {
        let Ok(permit) = app.parts.notifications.permits.clone().acquire_owned().await else { break };
        let app = app.clone();
        tokio::spawn(async move {
            run(&app, one).await;
            drop(permit);
        });
    }
    Ok(count)
}

/// One subscription until nothing is left to do. What is cut off by the server's end is done again when the lease ends.
async fn run(app: &AppState, mut due: Due) {
    let base = app.fhir_base();
    loop {
        if app.stopping.is_cancelled() {
            if let Err(error) = app.record.leave_subscription(&due).await {
                tracing::warn!(subscription = due.id(), %error, "a subscription is held until its lease ends");
            }
            return;
        }
        let step = app.record.next_notification(&mut due, &base).await;
        let delivery = match step {
            Ok(Step::Done) => return,
            Ok(Step::Send(delivery)) => delivery,
            Err(error) => {
                tracing::warn!(subscription = due.id(), %error, "a notification could not be prepared");
                return;
            }
        };
        let sent = tokio::select! {
            sent = send(app, &due, &delivery) => sent,
            // Not a failure of the endpoint: it comes again.
            () = app.stopping.cancelled() => continue,
        };
        let noted = match sent {
            Ok(()) => app.record.notification_sent(&mut due, &delivery).await,
            Err(reason) => app.record.notification_failed(&due, &reason).await.map(|()| false),
        };
        match noted {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(subscription = due.id(), %error, "a delivery could not be noted and will be repeated");
                return;
            }
        }
    }
}

/// Errors: what went wrong, without anything of the message.
async fn send(app: &AppState, due: &Due, delivery: &Delivery) -> Result<(), String> {
    let ways = &app.parts.notifications;
    app.record.check_delivery(&delivery.channel).await?;
    match &delivery.channel {
        Channel::RestHook { endpoint, headers } => {
            app.record.subscription_rules().check_url(endpoint)?;
            let below = |path: &str| format!("{}/{path}", endpoint.trim_end_matches('/'));
            let request = |method, url: &str, body: Option<(&str, &str)>| {
                let (url, body) = (url.to_owned(), body.map(|(m, b)| (m.to_owned(), b.to_owned())));
                async move {
                    let body = body.as_ref().map(|(m, b)| (m.as_str(), b.as_str()));
                    let timeout = delivery.timeout;
                    ways.hook.send(Request { method, url: &url, headers, body, timeout }).await
                }
            };
            use reach::hook::Method;
            match &delivery.message {
                Message::Ping => request(Method::POST, endpoint, None).await,
                Message::Put { path, mime, body } => {
                    request(Method::PUT, &below(path), Some((*mime, body.as_str()))).await
                }
                Message::Delete { path } => request(Method::DELETE, &below(path), None).await,
                Message::Post { mime, body } => {
                    request(Method::POST, endpoint, Some((*mime, body.as_str()))).await
                }
            }
        }
        Channel::Email { to } => {
            let Some(mailer) = &ways.mailer else { return Err("this server sends no e-mail".to_owned()) };
            let text = mail_text(&app.fhir_base(), due.id(), delivery);
            let subject = format!("{}: notification", app.config.clinic.name);
            let attachment = match &delivery.message {
                Message::Post { mime, body } => {
                    let name = if mime.ends_with("xml") { "notification.xml" } else { "notification.json" };
                    Some((name, *mime, body.as_str()))
                }
                Message::Ping | Message::Put { .. } | Message::Delete { .. } => None,
            };
            mailer.send(&Mail { to, subject: &subject, text: &text, attachment }).await
        }
        // The subscriber comes for it.
        Channel::WebSocket => Ok(()),
    }
}

fn mail_text(base: &str, id: &str, delivery: &Delivery) -> String {
    let what = match (delivery.kind, delivery.events) {
        (Kind::Heartbeat, _) => "No news; the subscription is alive.".to_owned(),
        (_, Some((first, last))) if first == last => format!("Event {last} has happened."),
        (_, Some((first, last))) => format!("Events {first} to {last} have happened."),
        (_, None) => "The subscription is set up.".to_owned(),
    };
    format!("{what}\n\nSubscription: {base}/Subscription/{id}\nEvents: {base}/Subscription/{id}/$events\n")
}
