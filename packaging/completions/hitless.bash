# complete -F
