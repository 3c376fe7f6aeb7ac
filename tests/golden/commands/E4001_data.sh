gradus train models/gpt_small.json
