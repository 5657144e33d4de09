//! `token`: makes a token for tests, or checks one as the server would.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::output::print;
use super::random::random;
use super::settings::Settings;
use crate::api::UserId;
use crate::config::{Limits, Token};
use crate::log::Timestamp;
use crate::time::Wall;
use crate::token::{SigningKey, Tokens};

/// Makes an access token, or checks one as the server would
///
/// With --key and --user, prints a token signed with that private key. With --check, applies the server's checks step by
/// step, with the keys and rules of the configuration, and shows the first that fails.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "airlay-cli web_socket token --key <PRIVATE.pem> --user <ID> [--name <NAME>] [--issuer <ISS>] \
                      [--ttl <SECONDS>]\n       airlay-cli web_socket token --check <TOKEN> [--config <PATH>]",
    after_help = "\
Examples:
  openssl genrsa -out private.pem 4096 && openssl rsa -in private.pem -pubout -out public.pem
  airlay-cli web_socket token --key private.pem --user 5dad615eae019570fb4647ed --ttl 3600
  airlay-cli web_socket token --check \"$TOKEN\"
  airlay-cli web_socket token --check - < token.txt"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    make: Option<Make>,
    /// Check this token; - reads it from standard input
    #[arg(long, value_name = "TOKEN", conflicts_with = "Make")]
    check: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Make {
    /// The PEM file of the RSA private key to sign with
    #[arg(long, value_name = "PRIVATE.pem")]
    key: PathBuf,
    /// The id of the token's user (data.id)
    #[arg(long, value_name = "ID")]
    user: UserId,
    /// The user's name (data.name)
    #[arg(long)]
    name: Option<String>,
    /// The issuer (iss); needed if [token] issuer is set
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// How long the token is valid, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 7200)]
    ttl: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match (&arguments.make, &arguments.check) {
        (Some(make), _) => make.run(),
        (None, Some(token)) => check(&arguments.settings, token),
        (None, None) => {
            let sentence = "Give --key and --user to make a token, or --check to check one.";
            Err(Failure::new(Exit::Wrong, sentence))
        }
    }
}

impl Make {
    fn run(&self) -> Result<(), Failure> {
        let wrong = |what: String| Failure::new(Exit::Wrong, format!("{}: {what}.", self.key.display()));
        let file = fs::read(&self.key).map_err(|error| wrong(format!("cannot read the key: {error}")))?;
        let key = SigningKey::from_pem(&file).map_err(|error| wrong(error.to_string()))?;
        let payload = payload(self.user, self.name.as_deref(), self.issuer.as_deref(), self.ttl, now());
        print(key.sign(&payload.to_string()))
    }
}

/// A payload like those of the product's own tokens. The token expires `ttl` seconds after `now`.
pub(super) fn payload(user: UserId, name: Option<&str>, issuer: Option<&str>, ttl: u64, now: Wall) -> Value {
    let issued = now.0 / 1000;
    let mut payload = json!({
        "iat": issued,
        "jti": format!("{:032x}", u128::from_be_bytes(random())),
        "exp": issued.saturating_add(ttl),
        "data": {"id": user.to_string()},
    });
    if let Some(issuer) = issuer {
        payload["iss"] = json!(issuer);
    }
    if let Some(name) = name {
        payload["data"]["name"] = json!(name);
    }
    payload
}

/// Applies the server's checks in its order, up to the first that fails.
fn check(settings: &Settings, token: &str) -> Result<(), Failure> {
    let rules = settings.load_section(Token::load)?;
    let limits = settings.load_section(Limits::load)?;
    let keys = rules.read_keys().map_err(|errors| Failure::each(Exit::Wrong, &errors))?;
    let token = read_token(token)?;
    let tokens = Tokens::new(keys, rules.rules(&limits), 0);
    let explanation = tokens.explain(&token, now());
    for check in explanation.passed {
        print(format_args!("yes  {check}"))?;
    }
    match explanation.outcome {
        Ok(claims) => {
            let (user, expires) = (claims.user, Timestamp(claims.expires));
            print(format_args!("The token is accepted: its user is {user}, and it expires at {expires}."))
        }
        Err(error) => {
            print(format_args!("NO   {error}"))?;
            Err(Failure::new(Exit::Failed, format!("The token is not accepted: {error}.")))
        }
    }
}

/// The token itself, or for `-` the one on standard input.
///
/// # Errors
/// Standard input cannot be read.
pub(super) fn read_token(token: &str) -> Result<String, Failure> {
    if token != "-" {
        return Ok(token.to_owned());
    }
    let token = io::read_to_string(io::stdin()).map_err(|error| {
        Failure::new(Exit::Failed, format!("Cannot read the token from standard input: {error}."))
    })?;
    Ok(token.trim().to_owned())
}

/// The current time.
pub(super) fn now() -> Wall {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_like_the_products_own() {
        let user = "5dad615eae019570fb4647ed".parse().unwrap();
        let now = Wall(1_711_709_116_789);
        let mut made = payload(user, Some("a.kalinin"), Some("dev.airlay.ru"), 7200, now);
        let id = made.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 32);
        assert_eq!(
            made,
            json!({
                "iat": 1_711_709_116, "iss": "dev.airlay.ru", "exp": 1_711_716_316,
                "data": {"name": "a.kalinin", "id": "5dad615eae019570fb4647ed"},
            })
        );
        let made = payload(user, None, None, u64::MAX, Wall(1000));
        assert_eq!(made["exp"], u64::MAX);
        assert!(made.get("iss").is_none() && made["data"].get("name").is_none());
    }
}
