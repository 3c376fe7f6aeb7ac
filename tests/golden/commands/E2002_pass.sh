printf 'graph "g"\n' | gradus opt - --passes simplfy
