-- A change is told at once to every directory that listens; the poll each second stays the guarantee.

create function control.tell_revision() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    notify partywall_revision;
    return null;
end
$$;
revoke all on function control.tell_revision() from public;
create trigger tell_revision after update on control.revision
    for each statement execute function control.tell_revision();
