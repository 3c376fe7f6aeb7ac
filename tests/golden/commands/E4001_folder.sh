gradus inspect models
