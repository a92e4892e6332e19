//! Tokens of an operator and its accounts, made by the oracle.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The system account of every operator here.
pub const SYSTEM: &str = "SYS";

/// An operator, and what it issued.
pub struct Tokens {
    pub key: String,
    pub operator: String,
    accounts: BTreeMap<String, Account>,
}

/// An account: its public key, its token, and that of a user who needs no key to connect.
#[derive(Clone)]
pub struct Account {
    pub key: String,
    pub token: String,
    pub user: String,
}

impl Tokens {
    /// Has the oracle make the tokens of an operator and its accounts.
    pub fn of(oracle: &Path, operator: &Value, accounts: &[Value]) -> io::Result<Self> {
        let mut child = Command::new(oracle)
            .arg("tokens")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let wish = json!({"operator": operator, "accounts": accounts}).to_string();
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(wish.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let made: Value = serde_json::from_slice(&output.stdout).map_err(io::Error::other)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let accounts = made["accounts"].as_object().into_iter().flatten();
        let account = |(name, value): (&String, &Value)| {
            let account = Account {
                key: text(&value["key"]),
                token: text(&value["token"]),
                user: text(&value["user"]),
            };
            (name.clone(), account)
        };
        Ok(Tokens {
            key: text(&made["key"]),
            operator: text(&made["operator"]),
            accounts: accounts.map(account).collect(),
        })
    }

    /// The account of that name, which was asked for.
    pub fn account(&self, name: &str) -> Account {
        self.accounts[name].clone()
    }

    /// `resolver_preload` of these accounts.
    pub fn preload(&self, names: &[&str]) -> String {
        let accounts = names.iter().map(|name| self.account(name));
        let lines = accounts.map(|account| format!(" {}: {:?}\n", account.key, account.token));
        format!("resolver_preload {{\n{}}}\n", lines.collect::<String>())
    }

    /// The operator, a resolver in memory, and these accounts.
    pub fn config(&self, names: &[&str]) -> String {
        format!(
            "operator: {:?}\nresolver: MEMORY\n{}",
            self.operator,
            self.preload(names)
        )
    }
}

/// What is asked for of an account.
pub fn wish(name: &str, more: &Value) -> Value {
    let mut wish = json!({"name": name, "called": format!("account {name}")});
    for (field, value) in more.as_object().into_iter().flatten() {
        wish[field] = value.clone();
    }
    wish
}

/// Limits that limit nothing.
pub fn unlimited() -> Value {
    json!({"disk_storage": -1, "mem_storage": -1, "streams": -1, "consumer": -1})
}

/// An operator with its system account and the accounts A and B, of which this is wished besides.
pub fn usual(oracle: &Path, a: &Value, b: &Value) -> io::Result<Tokens> {
    let accounts = [wish(SYSTEM, &json!({})), wish("A", a), wish("B", b)];
    Tokens::of(oracle, &operator(&json!({})), &accounts)
}

/// The operator, of which this is wished besides.
pub fn operator(more: &Value) -> Value {
    let mut wish = json!({"name": "O", "system_account": SYSTEM});
    for (field, value) in more.as_object().into_iter().flatten() {
        wish[field] = value.clone();
    }
    wish
}
