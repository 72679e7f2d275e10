//! Charges a customer at another company's API, whose URL is in the environment variable `CHARGE_API`:
//!
//! ```json
//! {"customer": "ada", "cents": 1200}
//! ```
//!
//! The request has an `Idempotency-Key`, which the host makes: the same one in every run, so that an API which knows the
//! header never charges twice. What becomes of a charge that failed depends on how it did: see `judge`.

use std::env;
use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, Error, Failure};
use momento_functions_bytes::encoding::{Extract, Json};
use momento_functions_guest_web::invoke;
use momento_functions_http::{self as http, Request, Response};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Charge {
    customer: String,
    cents: u64,
}

#[derive(Deserialize, Serialize)]
struct Receipt {
    receipt: String,
}

invoke!(charge);
fn charge(Json(charge): Json<Charge>) -> Answer<Json<Receipt>> {
    send(charge).map(Json).into()
}

fn send(charge: Charge) -> durable::Result<Receipt> {
    let api = env::var("CHARGE_API").map_err(|_| Error::terminal("CHARGE_API is not set"))?;
    let customer = charge.customer.clone();
    // `?`: no connection, no answer in time and the like may pass, and are tried again.
    let response = http::invoke(Request::new(api, "POST").json(Json(charge))?)?;
    judge(response, &customer)
}

fn judge(response: Response, customer: &str) -> durable::Result<Receipt> {
    match response.status {
        200..300 => Ok(Json::extract(response.body)?.0),
        // Its rate limit: not before it says, and with fewer of these functions at once.
        429 => Err(match retry_after(&response) {
            Some(wait) => Error::throttled("too many charges").retry_after(wait),
            None => Error::throttled("too many charges"),
        }),
        // No such customer, no money left: another try would end the same way.
        status @ 400..500 => {
            let reason = String::from_utf8_lossy(&response.body.into_bytes()).into_owned();
            let failure = Failure::new(reason).with_code(status);
            Err(failure.with("customer", customer).into())
        }
        status => Err(Error::temporary(format!("the API answered {status}"))),
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let mut headers = response.headers.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.parse().ok().map(Duration::from_secs)
}
