-- What `lz tune` has measured: one row per machine, call and kernel. Kept apart from every policy: a decision never
-- reads this file, only rules that were written from it.

create table if not exists machine (
    id integer primary key,
    digest text not null unique,        -- SHA-256 over device and versions
    device text not null,               -- JSON: the device's context fields, `{"device": "cuda", "sm": 90, ...}`
    versions text not null,             -- JSON: package -> version, with torch, driver and Python
    first_seen text not null            -- UTC, ISO 8601
);

create table if not exists measurement (
    id integer primary key,
    machine integer not null references machine (id) on delete cascade,
    operation text not null,            -- `attention.decode`
    context text not null,              -- JSON of the given fields, sorted by name
    kernel text not null,
    status text not null check (status in ('running', 'ok', 'failed')),
    process integer not null,           -- who runs it; a row that a dead process left `running` is a crash
    median_us real,                     -- of max(device, host) in eager calls, of the device in a CUDA graph
    spread_us real,                     -- between the quartiles of the repeats
    device_us real,
    host_us real,
    repeats integer,
    error text,
    measured_at text not null,          -- UTC, ISO 8601
    unique (machine, operation, context, kernel)
);

create index if not exists measurement_by_age on measurement (measured_at);
