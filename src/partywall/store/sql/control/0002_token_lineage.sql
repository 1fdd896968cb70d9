-- What a token was issued with and for: its scopes, and the credentials it descends from, so that a token never gives
-- more than the credential that asked for it, and ends when any of those is revoked.

alter table control.access_token
    add column scopes text[],
    add column ancestors text[] not null default '{}';
create index access_token_ancestors on control.access_token using gin (ancestors);
