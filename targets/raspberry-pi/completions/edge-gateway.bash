# shellcheck shell=bash
# bash completion for edge-gateway(8)

_edge_gateway() {
    local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]}
    # `=` is a word of its own: --flag = value.
    if [[ $word == = ]]; then
        word=''
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    COMPREPLY=()
    case $flag in
    --enroll-method)
        mapfile -t COMPREPLY < <(compgen -W 'token' -- "$word")
        return
        ;;
    --auth-method)
        mapfile -t COMPREPLY < <(compgen -W 'universal-auth kubernetes oidc-auth jwt-auth' -- "$word")
        return
        ;;
    --log)
        mapfile -t COMPREPLY < <(compgen -W 'error warn info debug trace' -- "$word")
        return
        ;;
    --log-style)
        mapfile -t COMPREPLY < <(compgen -W 'auto plain time syslog' -- "$word")
        return
        ;;
    --token-file | --client-secret-file | --jwt-file | --service-account-token-path | --config | --ca-file)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --state-dir)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
        ;;
    --domain | --name | --token | --gateway-id | --target-relay-name | --client-id | --client-secret | --machine-identity-id | --jwt | --relay-port | --relay-proxy | --allow | --deny | --max-tunnels | --memory | --exit-pause)
        return
        ;;
    esac
    if [[ $word == -* ]]; then
        local flags='
        --domain --name --enroll-method --token --token-file --gateway-id --target-relay-name --auth-method
        --client-id --client-secret --client-secret-file --machine-identity-id --jwt --jwt-file
        --service-account-token-path --config --state-dir --ca-file --relay-port --relay-proxy --allow --deny
        --max-tunnels --memory --exit-pause
        --log --log-style --help --version'
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
    elif ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'run enroll status doctor version start' -- "$word")
    fi
}
complete -F _edge_gateway edge-gateway
