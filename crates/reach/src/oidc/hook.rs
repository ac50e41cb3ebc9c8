//! How `openidconnect` calls a provider: by the checked client, never by one of its own.

use crate::egress::{ANSWER_BYTES, Client, Credential, EgressError, Request, TIMEOUT};
use openidconnect::http::header::{AUTHORIZATION, CONTENT_TYPE};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http};
use std::pin::Pin;

pub(super) struct Hook<'a>(pub &'a Client);

impl<'c> AsyncHttpClient<'c> for Hook<'_> {
    type Error = EgressError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, EgressError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Hook<'_> {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, EgressError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let body = String::from_utf8(body).map_err(|_| EgressError::Wrong)?;
        let text =
            |value: &http::HeaderValue| value.to_str().map(str::to_owned).map_err(|_| EgressError::Wrong);
        let mut headers = Vec::new();
        let (mut credential, mut kind) = (None, "application/octet-stream".to_owned());
        for (name, value) in &parts.headers {
            match name {
                &AUTHORIZATION => credential = Some(Credential::new(&url, name.as_str(), text(value)?)?),
                &CONTENT_TYPE => kind = text(value)?,
                name => headers.push((name.as_str().to_owned(), text(value)?)),
            }
        }
        let answer = self
            .0
            .send(Request {
                method: parts.method,
                url: &url,
                headers: &headers,
                credential: credential.as_ref(),
                body: (!body.is_empty()).then_some((kind.as_str(), body.as_str())),
                timeout: TIMEOUT,
                answer_bytes: ANSWER_BYTES,
            })
            .await?;
        let mut response = http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        if let Ok(kind) = http::HeaderValue::from_str(&answer.media_type)
            && !kind.is_empty()
        {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        Ok(response)
    }
}
