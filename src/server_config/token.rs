//! The tokens that operators and accounts are described by: JSON Web Tokens, of which the middle part is read.
//!
//! What a server refuses for its form is refused here too. The signature is not verified: a token that someone else than
//! its issuer wrote is taken for what it says.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

use crate::format::nkey::{Owner, is_key_of};

/// The longest token a server takes.
pub const TOKEN_MAX: usize = 1 << 20;

/// A server minds no stray bits at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// What is wrong with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenProblem {
    /// Longer than any server takes.
    TooLong,
    /// Not three parts with dots between them.
    Parts,
    /// A part is not what it has to be; the part and what it has to be.
    Part(&'static str, &'static str),
    /// A field is of another type than the server wants.
    Field(&'static str),
    /// Written by a newer library, or by none.
    Version,
    /// Of another kind than is wanted here.
    Kind(&'static str),
    /// The issuer is no operator, and no account where that may be.
    Issuer,
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {TOKEN_MAX} bytes"),
            Self::Parts => write!(f, "not three parts with dots between them"),
            Self::Part(part, expected) => write!(f, "its {part} is not {expected}"),
            Self::Field(field) => write!(f, "its field {field} is of the wrong type"),
            Self::Version => write!(f, "of a version that servers do not know"),
            Self::Kind(wanted) => write!(f, "not the token of an {wanted}"),
            Self::Issuer => write!(f, "its issuer has no valid public key"),
        }
    }
}

type Result<T> = std::result::Result<T, TokenProblem>;

/// What every token says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Whom it is about: a public key.
    pub subject: String,
    /// Who issued it: a public key.
    pub issuer: String,
    /// The name people use.
    pub name: String,
    /// A digest of what it says.
    pub id: String,
    /// When it was issued, in seconds since the Unix epoch.
    pub issued_at: i64,
    /// The last second it holds; 0 where it does not end.
    pub expires: i64,
    /// The first second it holds.
    pub not_before: i64,
}

/// An operator's token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperatorClaims {
    /// What every token says.
    pub claims: Claims,
    /// Further keys that may issue accounts.
    pub signing_keys: Vec<String>,
    /// Whether only these may.
    pub strict: bool,
    /// Where accounts are asked for unless the configuration says it.
    pub account_server_url: String,
    /// The system account.
    pub system_account: String,
    /// The oldest server that may be used.
    pub assert_server_version: String,
}

/// JetStream limits of an account, or of one of its tiers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenLimits {
    /// Most bytes in files; -1 for no limit, 0 for none at all.
    pub disk_storage: i64,
    /// Most bytes in memory; -1 for no limit, 0 for none at all.
    pub memory_storage: i64,
    /// Most consumers of a stream.
    pub consumers: i64,
    /// Most that a consumer may leave unacknowledged.
    pub max_ack_pending: i64,
    /// Most bytes that a stream in files may be configured for.
    pub disk_max_stream_bytes: i64,
    /// Whether every stream has to have a limit of bytes.
    pub max_bytes_required: bool,
}

impl TokenLimits {
    /// Whether there is any room in them.
    #[must_use]
    pub fn leave_room(&self) -> bool {
        self.disk_storage != 0 || self.memory_storage != 0
    }
}

/// An account's token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountClaims {
    /// What every token says.
    pub claims: Claims,
    /// The limits; nothing where there are tiers.
    pub limits: TokenLimits,
    /// Limits by tier: `R1` for streams of one replica, `R3` for those of three.
    pub tiers: BTreeMap<String, TokenLimits>,
}

impl AccountClaims {
    /// Reads an account's token.
    ///
    /// # Errors
    ///
    /// What keeps a server from reading it.
    pub fn decode(token: &[u8]) -> Result<Self> {
        let (claims, nats, version) = payload(token, "account")?;
        let issued =
            is_key_of(Owner::Account, &claims.issuer) || is_key_of(Owner::Operator, &claims.issuer);
        if !issued {
            return Err(TokenProblem::Issuer);
        }
        let mut account = AccountClaims {
            claims,
            ..AccountClaims::default()
        };
        let limits = Fields(Fields(Some(&nats)).map("limits")?);
        // The first version knew nothing of JetStream.
        if version == 1 {
            return Ok(account);
        }
        account.limits = limits.limits()?;
        for (tier, value) in limits.map("tiered_limits")?.into_iter().flatten() {
            let tier_limits = match value {
                Value::Object(map) => Fields(Some(map)).limits()?,
                Value::Null => TokenLimits::default(),
                _ => return Err(TokenProblem::Field("tiered_limits")),
            };
            account.tiers.insert(tier.clone(), tier_limits);
        }
        if !account.tiers.is_empty() {
            account.limits = TokenLimits::default();
        }
        Ok(account)
    }

    /// Whether the account has JetStream.
    #[must_use]
    pub fn has_jetstream(&self) -> bool {
        self.limits.leave_room() || self.tiers.values().any(TokenLimits::leave_room)
    }
}

impl OperatorClaims {
    /// Reads an operator's token, which may stand between two lines of dashes.
    ///
    /// # Errors
    ///
    /// What keeps a server from reading it.
    pub fn decode(text: &[u8]) -> Result<Self> {
        let (claims, nats, version) = payload(undecorated(text), "operator")?;
        if !is_key_of(Owner::Operator, &claims.issuer) {
            return Err(TokenProblem::Issuer);
        }
        let nats = Fields(Some(&nats));
        let keys = match nats.get("signing_keys") {
            None => Vec::new(),
            Some(Value::Array(keys)) => keys
                .iter()
                .map(|key| key.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or(TokenProblem::Field("signing_keys"))?,
            Some(_) => return Err(TokenProblem::Field("signing_keys")),
        };
        let mut operator = OperatorClaims {
            claims,
            signing_keys: keys,
            account_server_url: nats.text("account_server_url")?,
            system_account: nats.text("system_account")?,
            ..OperatorClaims::default()
        };
        if version > 1 {
            operator.strict = nats.flag("strict_signing_key_usage")?;
            operator.assert_server_version = nats.text("assert_server_version")?;
        }
        Ok(operator)
    }

    /// The keys whose accounts are believed.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        let own = (!self.strict).then_some(self.claims.subject.as_str());
        own.into_iter()
            .chain(self.signing_keys.iter().map(String::as_str))
    }
}

/// What is issued when, of a token of any kind.
///
/// # Errors
///
/// What keeps a server from reading it.
pub fn any_claims(token: &[u8]) -> Result<Claims> {
    claims(&Fields(Some(&object(token)?)))
}

/// The line between two lines of dashes where there is one, the whole text otherwise.
fn undecorated(text: &[u8]) -> &[u8] {
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    let dashes = |line: &[u8]| {
        let line = line.trim_ascii_start();
        line.len() >= 6 && line.starts_with(b"---") && line.ends_with(b"---")
    };
    let is_token = |line: &[u8]| {
        let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.=".contains(byte);
        !line.is_empty() && line.iter().all(known)
    };
    let mut windows = lines.windows(3);
    windows
        .find(|lines| dashes(lines[0]) && is_token(lines[1]) && dashes(lines[2]))
        .map_or(text, |lines| lines[1])
}

fn object(token: &[u8]) -> Result<Map<String, Value>> {
    if token.len() > TOKEN_MAX {
        return Err(TokenProblem::TooLong);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenProblem::Parts);
    };
    let header = json(header, "head")?;
    let header = Fields(Some(&header));
    let algorithm = header.text("alg")?.to_lowercase();
    if header.text("typ")?.to_uppercase() != "JWT"
        || !matches!(algorithm.as_str(), "ed25519" | "ed25519-nkey")
    {
        return Err(TokenProblem::Part("head", "one of these tokens"));
    }
    base64(signature).ok_or(TokenProblem::Part("signature", "base64"))?;
    json(body, "body")
}

/// Line breaks in it are passed over.
fn base64(part: &[u8]) -> Option<Vec<u8>> {
    let part: Vec<u8> = part
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    BASE64.decode(part).ok()
}

fn json(part: &[u8], name: &'static str) -> Result<Map<String, Value>> {
    let bytes = base64(part).ok_or(TokenProblem::Part(name, "base64"))?;
    serde_json::from_slice(&bytes).map_err(|_| TokenProblem::Part(name, "a JSON object"))
}

/// A token of one kind: what every token says, its own part, and its version.
fn payload(token: &[u8], kind: &'static str) -> Result<(Claims, Map<String, Value>, i64)> {
    let mut object = object(token)?;
    let fields = Fields(Some(&object));
    let claims = claims(&fields)?;
    let old_kind = fields.text("type")?;
    let nats = Fields(fields.map("nats")?);
    let (found, version) = match old_kind.is_empty() {
        true => (nats.text("type")?, nats.number("version")?),
        false => (old_kind, 1),
    };
    if found != kind {
        return Err(TokenProblem::Kind(kind));
    }
    if !(1..=2).contains(&version) {
        return Err(TokenProblem::Version);
    }
    let nats = match object.remove("nats") {
        Some(Value::Object(nats)) => nats,
        _ => Map::new(),
    };
    Ok((claims, nats, version))
}

fn claims(fields: &Fields<'_>) -> Result<Claims> {
    Ok(Claims {
        subject: fields.text("sub")?,
        issuer: fields.text("iss")?,
        name: fields.text("name")?,
        id: fields.text("jti")?,
        issued_at: fields.number("iat")?,
        expires: fields.number("exp")?,
        not_before: fields.number("nbf")?,
    })
}

/// Fields of an object, which may be absent altogether. One that is absent or null is empty.
#[derive(Clone, Copy)]
struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    fn get(self, name: &'static str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    fn text(self, name: &'static str) -> Result<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(TokenProblem::Field(name)),
        }
    }

    fn number(self, name: &'static str) -> Result<i64> {
        match self.get(name) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or(TokenProblem::Field(name)),
        }
    }

    fn flag(self, name: &'static str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or(TokenProblem::Field(name)),
        }
    }

    fn map(self, name: &'static str) -> Result<Option<&'a Map<String, Value>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(TokenProblem::Field(name)),
        }
    }

    fn limits(self) -> Result<TokenLimits> {
        Ok(TokenLimits {
            disk_storage: self.number("disk_storage")?,
            memory_storage: self.number("mem_storage")?,
            consumers: self.number("consumer")?,
            max_ack_pending: self.number("max_ack_pending")?,
            disk_max_stream_bytes: self.number("disk_max_stream_bytes")?,
            max_bytes_required: self.flag("max_bytes_required")?,
        })
    }
}
