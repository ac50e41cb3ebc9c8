//! E-mail by the clinic's own mail server.

use lettre::message::{Attachment, MultiPart, SinglePart, header::ContentType};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, message::Mailbox};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

/// How the mail server is reached. Debug output hides the URL, which may hold a password.
#[derive(Clone)]
pub struct Config {
    /// `smtps://user:password@host`, `smtp://host:587?tls=required`, or `smtp://host:25` without encryption.
    pub url: String,
    /// e.g. `Uzima Clinic <clinic@example.org>`
    pub from: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("mail::Config").field("from", &self.from).finish_non_exhaustive()
    }
}

/// One e-mail.
#[derive(Debug, Clone)]
pub struct Mail<'a> {
    /// Address alone.
    pub to: &'a str,
    pub subject: &'a str,
    pub text: &'a str,
    /// File name, media type and content.
    pub attachment: Option<(&'a str, &'a str, &'a str)>,
}

/// The way out for e-mail.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Errors: what of the configuration is wrong, without the password.
    pub fn new(config: &Config) -> Result<Mailer, String> {
        let from = config.from.parse().map_err(|_| "mail.from is no e-mail address".to_owned())?;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.url)
            .map_err(|_| "mail.url is no smtp:// or smtps:// URL".to_owned())?;
        Ok(Mailer { transport: builder.timeout(Some(TIMEOUT)).build(), from })
    }

    /// Done once the mail server has taken it. Errors: what went wrong, without address and content.
    pub async fn send(&self, mail: &Mail<'_>) -> Result<(), String> {
        let to: Address = mail.to.parse().map_err(|_| "the address is no e-mail address".to_owned())?;
        let builder =
            Message::builder().from(self.from.clone()).to(Mailbox::new(None, to)).subject(mail.subject);
        let text = SinglePart::plain(mail.text.to_owned());
        let built = match mail.attachment {
            None => builder.singlepart(text),
            Some((name, mime, content)) => {
                let kind =
                    ContentType::parse(mime).map_err(|_| "the attachment has no media type".to_owned())?;
                let file = Attachment::new(name.to_owned()).body(content.to_owned(), kind);
                builder.multipart(MultiPart::mixed().singlepart(text).singlepart(file))
            }
        };
        let message = built.map_err(|_| "the e-mail cannot be put together".to_owned())?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_timeout() => Err("the mail server did not answer in time".to_owned()),
            Err(e) if e.is_permanent() => Err("the mail server refused it for good".to_owned()),
            Err(e) if e.is_transient() => Err("the mail server refused it for now".to_owned()),
            Err(e) if e.is_tls() => Err("the mail server's encryption failed".to_owned()),
            Err(_) => Err("the mail server cannot be reached".to_owned()),
        }
    }
}
