"""The kinds of events, and the MESSAGE_ID of each."""

from __future__ import annotations

# A MESSAGE_ID for each kind of event, so that `journalctl MESSAGE_ID=...` and journal catalogs can rely on it
# (sd-id128(3), `systemd-id128 new`). An id never changes and is never used again.
MESSAGE_IDS: dict[str, str] = {
    # the daemon
    "listening": "3f137569f0fdfad1b1f6b6eefaecda84",
    "start-failed": "b1980bb6c8094947140c19b22cc6f53c",
    "stopping": "94ab9201b5d6a4accd59c19aff73fe01",
    "stopped": "0da2a7738a1a5e46487cd77410d64e19",
    "reloaded": "4ad06c31d010d1520cd7fc5fdfe277fa",
    "reload-failed": "22a57ddf521951b5a25091d2b1bc9b64",
    "restart-needed": "732ba5ad1b03870b1ea40f6b0d01ec84",
    "setting-unknown": "fd7c4d49400dd7b97d902bf729f99121",
    "probe-failed": "4a6954e3ca1823457baa1b166795301e",
    # what requests make of a reminder; `cancelled` is below
    "created": "66b746b9cec4473e8ded00dcbd5172dc",
    "changed": "0944e163dcab4b71afe3c418b0b18c0b",
    # how a reminder's attempt, or a reminder without one, ended (reminder.Outcome)
    "delivered": "6960b00bab12e2c58416c5f15bdf3f49",
    "failed": "6a491877d8155e985f1cb93dd7c9ce17",
    "interrupted": "1526037d65c4d4d31fd798462430787e",
    "uncertain": "5f56ca069233f15f2f43e90f56fc0290",
    "missed": "a986dd8f90f0ec64c66b28c4a6c8794f",
    "cancelled": "d7b63a8963c57bd45dca49176a738675",
    # what the `log` method shows
    "reminder": "b97892f5446713c5aa062dbbf05f4345",
    # the store
    "store-fault": "bae19891c20ec4bbc611c6fe8b682b22",
    "store-recovered": "50b7622f2c48acc209c6e0e480009ecd",
    "store-request-failed": "4e241d3b0895ef15b00bb50879614443",
    "store-reconnect-failed": "1c48f832867fb0054091fff35ebfa909",
    # the clock and the scheduler
    "clock-set": "f9519b3b45e9fb16cbfb797f85575364",
    "outage": "6e70b78fff1c37a6ee8e931ced4e6c19",
    "scheduler-error": "6541c36e1c728ca76edb45c97f15f92d",
    # handlers and their processes
    "dropin-loaded": "97edc5e33ae5d99486bb385b896e397e",
    "dropin-failed": "1a14514cfb5f14d02c6c834fbaa268b9",
    "worker-failed": "dc73b8c4847c63d9e7e0797d6bc21efb",
    "parent-died": "87efd66d54c8cc5afbc311e4a2cc8ce6",
    "executor-error": "f3412d618cbcbc574b3327b5e0982a54",
    "heartbeat-failed": "0fa31d13e037481892e979d3fa192483",
    "heartbeat-recovered": "414696f9b3704d228df1261df319155f",
    # the API
    "request-failed": "e43bbd5e62bf8a66045d85240e7efc0d",
    "server-fault": "2eb2cf8d3125e16be31f832f40347188",
    "key-refused": "0b3285d6dafe45619a44baa81fadfaf5",
    # the service manager, and libraries
    "notify-failed": "5cf438f36ca3da9b081c91b34ea376d1",
    "library": "285e88a9c2877e962d6345a33774bd71",
}
