//! The bucket: values that are put, updated, deleted and watched.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, UpdateErrorKind};
use futures_util::StreamExt;

use super::{BUCKET, Outcome, Truth};

pub async fn keep_values(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let bucket = context.get_key_value("B").await?;
    let part = truth.part;
    for (key, text) in [
        ("a", "one"),
        ("a", "two"),
        ("b.c", "one"),
        ("gone", "one"),
        // With no more than the bucket keeps: what its limit removes comes back when a server is killed.
        ("purged", "one"),
    ] {
        let value = format!("{text} of part {part}");
        let revision = bucket.put(key, value.clone().into()).await?;
        truth.stored(BUCKET, revision, &format!("$KV.B.{key}"), value.as_bytes());
    }
    let revision = bucket.entry("a").await?.ok_or("no value")?.revision;
    let updated = bucket.update("a", "updated".into(), revision).await?;
    truth.stored(BUCKET, updated, "$KV.B.a", b"updated");
    let refused = bucket
        .update("a", "late".into(), revision)
        .await
        .err()
        .map(|error| error.kind());
    truth.same(
        "an update of what was updated",
        refused,
        Some(UpdateErrorKind::WrongLastRevision),
    )?;
    let refused = bucket
        .create("a", "new".into())
        .await
        .err()
        .map(|error| error.kind());
    truth.same(
        "a key that is there",
        refused,
        Some(CreateErrorKind::AlreadyExists),
    )?;
    let fresh = format!("new-{part}");
    let revision = bucket.create(&fresh, "new".into()).await?;
    truth.stored(BUCKET, revision, &format!("$KV.B.{fresh}"), b"new");
    bucket.delete("gone").await?;
    truth.stored(BUCKET, revision + 1, "$KV.B.gone", b"");
    bucket.purge("purged").await?;
    truth
        .streams
        .entry(BUCKET)
        .or_default()
        .retain(|_, (subject, _)| subject != "$KV.B.purged");
    truth.stored(BUCKET, revision + 2, "$KV.B.purged", b"");
    truth.same(
        "deleted",
        (bucket.get("gone").await?, bucket.get("purged").await?),
        (None, None),
    )?;
    truth.same(
        "a value",
        bucket.get("a").await?.map(|value| value.to_vec()),
        Some(b"updated".to_vec()),
    )?;
    list_values(&bucket, truth).await
}

/// What is kept of each key, and which keys there are.
async fn list_values(bucket: &kv::Store, truth: &mut Truth) -> Outcome<()> {
    let part = truth.part;
    for key in ["a", "b.c", "purged", "gone"] {
        let mut history = bucket.history(key).await?;
        let mut found = Vec::new();
        while let Some(entry) = history.next().await {
            let entry = entry?;
            found.push((entry.revision, entry.value.to_vec()));
        }
        let expected = truth.history(key);
        truth.same(&format!("the history of {key}"), found, expected)?;
    }
    let mut keys = bucket.keys().await?;
    let mut found = BTreeSet::new();
    while let Some(key) = keys.next().await {
        found.insert(key?);
    }
    let expected: BTreeSet<String> = (1..=part)
        .map(|part| format!("new-{part}"))
        .chain(["a".to_owned(), "b.c".to_owned()])
        .collect();
    let expected = if part > 1 {
        expected.into_iter().chain(["w".to_owned()]).collect()
    } else {
        expected
    };
    truth.same("the keys", found, expected)
}

pub async fn watch_values(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let bucket = context.get_key_value("B").await?;
    let mut old = bucket.watch_with_history("a").await?;
    let mut new = bucket.watch("w").await?;
    for number in 0..3 {
        let value = format!("watched {number}");
        let revision = bucket.put("w", value.clone().into()).await?;
        truth.stored(BUCKET, revision, "$KV.B.w", value.as_bytes());
        let seen = tokio::time::timeout(Duration::from_secs(5), new.next())
            .await?
            .ok_or("the watch ended")??;
        truth.same(
            "a watched value",
            (seen.revision, seen.value.to_vec(), seen.operation),
            (revision, value.into_bytes(), Operation::Put),
        )?;
    }
    let seen = tokio::time::timeout(Duration::from_secs(5), old.next())
        .await?
        .ok_or("the watch ended")??;
    let last = truth.history("a").last().cloned();
    truth.same(
        "the last value",
        Some((seen.revision, seen.value.to_vec())),
        last,
    )
}
