# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_hitless_global_optspecs
    string join \n config= h/help V/version
end

function __fish_hitless_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_hitless_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_hitless_using_subcommand
    set -l cmd (__fish_hitless_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c hitless -n "__fish_hitless_needs_command" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_needs_command" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_needs_command" -s V -l version -d 'Print version'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "run" -d 'Serve, until told to stop; started by systemd, or by hand in a terminal'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "gateway" -d 'Serve for the keeper that started this process'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "self-test" -d 'Say whether this program could take over from one that runs'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "reload" -d 'Load the configuration again, and say whether it was accepted; first upgrade, if the program was replaced'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "upgrade" -d 'Let the program on disk take over, with every connection that can move'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "status" -d 'Say what is served and how it goes'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "ledger" -d 'Say what became of every request, and whether any is unaccounted for'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "breaker" -d 'Set the breaker of a service, or of one of its endpoints, by hand'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "hold" -d 'Let the requests of a service wait, until they are released'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "release" -d 'Let the requests of a service go on, also after a drain'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "drain" -d 'Send no more requests to a service, or to one endpoint, and wait until none is in flight'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "started" -d 'Say that what was drained has started again'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "restart" -d 'Restart the unit of a service: requests wait meanwhile'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "attach" -d 'Have systemd drain an application through hitless before it stops it'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "detach" -d 'Undo attach'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "polkit" -d 'Print the polkit rule that idle-stop needs'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "fault" -d 'Delay or fail some requests of a service on purpose, for a while'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "check" -d 'Check a configuration without touching what is running'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "prove" -d 'Change what is running, under load, and say what clients noticed'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "doctor" -d 'Say what of this host would break the promise, and what to do about it'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "completions" -d 'Print the completions of a shell'
complete -c hitless -n "__fish_hitless_needs_command" -f -a "generate" -d 'Write man pages, completions and the example configuration into a folder'
complete -c hitless -n "__fish_hitless_using_subcommand run" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand run" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand gateway" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand gateway" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand self-test" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand self-test" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand reload" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand reload" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand reload" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand upgrade" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand upgrade" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand status" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand status" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand status" -l json -d 'As JSON, for programs'
complete -c hitless -n "__fish_hitless_using_subcommand status" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand ledger" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand ledger" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand ledger" -l json -d 'As JSON, for programs'
complete -c hitless -n "__fish_hitless_using_subcommand ledger" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand breaker" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand breaker" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand breaker" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand hold" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand hold" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand hold" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand release" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand release" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand release" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand drain" -l unit -d 'Every service of this unit' -r
complete -c hitless -n "__fish_hitless_using_subcommand drain" -l endpoint -d 'Only this endpoint; the others take its requests' -r
complete -c hitless -n "__fish_hitless_using_subcommand drain" -l limit -d 'How long to wait for what is in flight, such as 30s' -r
complete -c hitless -n "__fish_hitless_using_subcommand drain" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand drain" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand drain" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand started" -l unit -d 'Every service of this unit' -r
complete -c hitless -n "__fish_hitless_using_subcommand started" -l endpoint -d 'Only this endpoint; the others take its requests' -r
complete -c hitless -n "__fish_hitless_using_subcommand started" -l limit -d 'How long to wait for what is in flight, such as 30s' -r
complete -c hitless -n "__fish_hitless_using_subcommand started" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand started" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand started" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand restart" -l limit -d 'How long to wait for what is in flight, such as 30s' -r
complete -c hitless -n "__fish_hitless_using_subcommand restart" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand restart" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand restart" -l json -d 'Each step as a line of JSON, for programs'
complete -c hitless -n "__fish_hitless_using_subcommand restart" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand attach" -l service -d 'The service it is of, when that does not say so by \'unit\'' -r
complete -c hitless -n "__fish_hitless_using_subcommand attach" -l endpoint -d 'The endpoint that it is, when there are others' -r
complete -c hitless -n "__fish_hitless_using_subcommand attach" -l limit -d 'How long a stop waits for what is in flight, such as 30s' -r
complete -c hitless -n "__fish_hitless_using_subcommand attach" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand attach" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand attach" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand detach" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand detach" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand polkit" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand polkit" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l delay -d 'Delay requests by so much, such as 300ms' -r
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l abort -d 'Answer them with this status, from 400 to 599, after the delay' -r
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l percent -d 'How many of all requests' -r
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l for -d 'How long it lasts, at most 24h' -r
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand fault" -l clear -d 'End it now'
complete -c hitless -n "__fish_hitless_using_subcommand fault" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand check" -l explain -d 'Explain a key, such as drain.deadline' -r
complete -c hitless -n "__fish_hitless_using_subcommand check" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand check" -l show -d 'Print the effective configuration, with where each value comes from'
complete -c hitless -n "__fish_hitless_using_subcommand check" -l schema -d 'Print the JSON schema of the configuration files'
complete -c hitless -n "__fish_hitless_using_subcommand check" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l for -d 'How long load is offered around each transition, 1 to 600' -r
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l connections -d 'Connections that are held, half of them silent, 3 to 10000' -r
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l connect -d 'Where this host is reached, ADDRESS:PORT or unix:/PATH [default: where the URL\'s host is]' -r
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l ca -d 'PEM file with the authorities to believe, over TLS [default: those that this host trusts]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l name -d 'The name that the certificate must have, over TLS [default: the URL\'s host]' -r
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l reload -d 'Load the configuration again'
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l upgrade -d 'Let the program on disk take over'
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l restart -d 'Restart hitless.service'
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l yes -d 'Do it: without this, --upgrade and --restart only say what they would do'
complete -c hitless -n "__fish_hitless_using_subcommand prove" -l insecure -d 'Believe every certificate, over TLS'
complete -c hitless -n "__fish_hitless_using_subcommand prove" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand doctor" -l unit -d 'The unit to look at' -r
complete -c hitless -n "__fish_hitless_using_subcommand doctor" -l socket -d 'The admin socket [default: admin.socket of the configuration]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand doctor" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand doctor" -l json -d 'As JSON, for programs'
complete -c hitless -n "__fish_hitless_using_subcommand doctor" -l probe -d 'Also leave one connection to each endpoint idle, and see who closes it first'
complete -c hitless -n "__fish_hitless_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand completions" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand completions" -s h -l help -d 'Print help'
complete -c hitless -n "__fish_hitless_using_subcommand generate" -l config -d 'The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]' -r -F
complete -c hitless -n "__fish_hitless_using_subcommand generate" -s h -l help -d 'Print help'
