//! Events of what stands around a store: the server's configuration and its place in a cluster.

use crate::report::events::EventCode::*;
use crate::report::events::text::Text;

const FIX_CONFIG: &str = "Correct the configuration at the place named, and ask again. Nothing in the \
    store has to be changed.";

/// What a configuration makes of a store.
pub(super) const SURROUNDINGS: &[Text] = &[
    (
        ServerConfigInvalid,
        "The server's configuration cannot be read as the server would, or holds what it does not \
         know: it does not start, and touches nothing. Nothing else is foretold.",
        "Correct the file at the line and column named. A variable may also come from the server's \
         own environment: set it here too.",
    ),
    (
        ServerStartRefused,
        "The configuration is understood, and the server does not start with it.",
        FIX_CONFIG,
    ),
    (
        JetstreamOff,
        "The server starts without JetStream: no stream comes up, their files stay.",
        FIX_CONFIG,
    ),
    (
        StoreElsewhere,
        "The server keeps its streams in the directory jetstream below store_dir, and that is not \
         where these lie. It starts with an empty store; streams created there take the same names.",
        "Point store_dir at the directory that holds jetstream, not at jetstream itself.",
    ),
    (
        AccountRelocated,
        "The account lies directly in store_dir. The server moves it into the directory jetstream \
         below, and brings its streams up from there. If store_dir is one level too deep, a server \
         with the right one will no longer find them.",
        "Point store_dir at the directory that holds jetstream, unless the move is what you want.",
    ),
    (
        AccountUnknown,
        "The server has no account of that name, or keeps no streams in it: none of them comes up, \
         their files stay.",
        "Configure the account, with JetStream, under the name of its directory; where accounts are an \
         operator's, hand its token to the resolver, by `resolver_preload` or a push.",
    ),
    (
        AccountIsSystem,
        "The system account has no JetStream: none of its streams comes up, their files stay.",
        FIX_CONFIG,
    ),
    (
        AccountWithoutJetstream,
        "The account exists and has no JetStream: none of its streams comes up, their files stay.",
        "Add `jetstream: enabled` to the account; where accounts are an operator's, have its token issued \
         anew with JetStream limits.",
    ),
    (
        AccountTokenRefused,
        "There is a token of the account, and the server does not go by it: it has expired or does not \
         hold yet, is another account's, was issued by nobody the operator trusts, or cannot be read. \
         None of the account's streams comes up, their files stay.",
        "Have the token issued anew by the operator and hand it to the resolver.",
    ),
    (
        AccountLimitsTooWide,
        "The token of the account allows more bytes than the server has left: standing alone, it \
         starts and does not switch JetStream on for the account. None of its streams comes up, their \
         files stay.",
        "Raise the server's limit at the place named, or have the token issued with lower limits.",
    ),
    (
        LimitLeavesStreamOut,
        "A limit of the configuration is narrower than the stream's own settings: the server leaves \
         the stream out, its files stay.",
        "Widen the limit at the place named for this start, then lower the stream's own setting.",
    ),
    (
        LimitLeavesConsumerOut,
        "A limit of the configuration is narrower than the consumer's own settings: the server leaves \
         the consumer out, its files stay. On an interest stream that costs the messages it had \
         still to see.",
        "Widen the limit at the place named.",
    ),
    (
        StreamOrphaned,
        "A member of a cluster deletes every stream that the cluster's metadata does not name, 30 \
         seconds after it has a leader, with all messages and consumers. Metadata is looked for below \
         the system account; here there is none.",
        "Do not start the server like this. Start it without cluster{} and gateway{}, make backups, \
         and restore them in the cluster; or give back the system account that the store was kept \
         with.",
    ),
    (
        ServerNotAPeer,
        "A server is known to its cluster by its name. This name is none of the members': the server \
         would join as a new one and delete what it holds.",
        "Give the server the server_name it had.",
    ),
    (
        SurroundingsUntold,
        "What decides whether streams come up is not in the configuration file; the forecast takes \
         the best for granted.",
        "Look it up where the event says.",
    ),
    (
        MessagesReleased,
        "A consumer does not come up, and an interest stream keeps a message only while a consumer \
         waits for it: what the other consumers have done with is deleted as soon as the server has \
         started.",
        "Mend the consumer before the server starts. `jetsam salvage` copies the messages and \
         rebuilds the consumer where its files tell enough.",
    ),
];
